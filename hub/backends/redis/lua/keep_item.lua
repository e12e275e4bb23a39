-- A part of publish.lua: keeps events in inboxes (inbox.lua). What most inboxes and most items need is here.

local inboxes
local function loaded_inboxes()
  inboxes = inboxes or load_inboxes(inbox_limits)
  return inboxes
end

-- What a call computes once, as texts, because the conversion of numbers is dear: the number after another
-- one; the number of items after another one, if there is room for one more, otherwise false; and when an
-- item expires that is added now, by its field m, false if it has a key or a push.
local successors, new_counts, expiries = {}, {}, {}
local function successor_of(number)
  successors[number] = format('%d', tonumber(number) + 1)
  return successors[number]
end
local function new_count_of(count)
  new_counts[count] = tonumber(count) < tonumber(match(inbox_limits, '^%d+ (%d+)')) and successor_of(count)
  return new_counts[count]
end
local function expiry_of(log, meta)
  local ttl_ms = match(meta, '^(%d+)\n')
  expiries[meta] = ttl_ms and format('%013d', log.now + tonumber(ttl_ms)) or false
  return expiries[meta]
end

-- Counts a new item of an inbox, and makes room for it. The caller writes the state, the field i of the head;
-- store_item must follow. state: the field before, or false. meta: m of the item. Returns nil if the user
-- has muted its category.
local function prepare_item(log, state, items_key, meta)
  local now_text, expires = log.now_text, expiries[meta]
  if expires == nil then
    expires = expiry_of(log, meta)
  end
  local count, unread, unseen, last, check = match(state or '', '^(%d+) (%d+) (%d+) (%S+) (%d+)$')
  local new_count = check and new_counts[count]
  if check and new_count == nil then
    new_count = new_count_of(count)
  end
  if not new_count or not expires or now_text >= check or now_text <= last then
    return loaded_inboxes().prepare_any_item(log, state, items_key, meta)
  end
  local id = now_text .. '-0'
  local new_state = new_count .. ' ' .. (successors[unread] or successor_of(unread)) .. ' '
    .. (successors[unseen] or successor_of(unseen)) .. ' ' .. id .. ' ' .. (expires < check and expires or check)
  return {
    id = id, state = new_state, text = new_state .. '\n' .. meta, meta = meta, items_key = items_key, kind = 'i'
  }
end

-- Stores an item that prepare_item has counted. epoch, offset: position of its event.
local function store_item(item, data, epoch, offset)
  if not item.has_pushes then
    redis.call('XADD', item.items_key, item.id, 'm', item.meta, 'd', data)
  else
    redis.call('XADD', item.items_key, item.id, 'm', item.meta, 'd', data, 'o', epoch .. ' ' .. offset)
  end
  local inbox = item.inbox
  if inbox then
    if item.key ~= '' then
      inboxes.set_field(inbox, 'k' .. item.key, item.id)
    end
    if inbox.is_due then
      inboxes.refresh_ttls(inbox)
    end
  end
end

-- Returns what follows the position in the notification of an event with an item, and what is in the place of
-- the name. epoch, offset: position of the event inbox.item. trace: what follows the position otherwise.
local function item_lines(trace, name, item, epoch, offset)
  return trace .. ' ' .. item.kind .. epoch .. '.' .. offset, item.text .. '\n' .. name
end
