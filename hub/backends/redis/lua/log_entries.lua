-- Shared by several scripts: the events of one entry of a log. An entry has the id '<offset>-<ms>' and the
-- fields
--   n d b   name and data of an event, and the bytes of all events before it
--   x       when the event expires (ms), if it does
-- and, if the event is kept as an item of a user (inbox.lua), the events of that item follow it in the same
-- entry, which has the offset of the last one:
--   i or k  a line with the state of the inbox after it, and six with the item but for its data, which are
--           those of the event: i of a new item, k if it replaced another one
--   e       data of the event inbox.changed of the items that were removed for it, if there were any
-- Then n is '' if the event itself was ephemeral. hub/backends/redis/item_events.py builds the event
-- inbox.item from these fields, so that the broker stores the data of an event once and builds no JSON.

-- Returns the events of an entry: name, data, name, data ... The name is false for one that has expired.
-- inbox.item has the name '\ni' or '\nk', and state, item and data as its data, which line ends separate.
-- fields: as XRANGE returns them.
local function entry_events(fields, now)
  local name, data, at = fields[2], fields[4], 7
  if fields[7] == 'x' then
    name, at = tonumber(fields[8]) > now and name, 9
  end
  if not fields[at] then
    return {name, data}
  end
  local events = name ~= '' and {name, data} or {}
  if fields[at + 3] then
    events[#events + 1] = 'inbox.changed'
    events[#events + 1] = fields[at + 3]
  end
  events[#events + 1] = '\n' .. fields[at]
  events[#events + 1] = fields[at + 1] .. '\n' .. data
  return events
end
