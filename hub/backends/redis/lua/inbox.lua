-- Shared by several scripts: the items of one inbox.
-- Two keys: a stream of items, and a hash of their state. An entry of the stream has the id of the item
-- and five fields: x (when it expires, ms), k (its key or ''), c (its category or ''), m (its fields
-- that the publisher set, as a part of a JSON object) and d (its data); and then r (1) if it is required,
-- and, if the event is pushed, p (ids of deliveries to cancel when it is read) and o (position of the event:
-- epoch and offset). Fields of the hash:
--   c  '<number of items> <unread ones> <unseen ones> <id of the newest item that was ever there>
--      <lower bound of the time at which the next item expires (ms), 0 if there is none>
--      <when the ttl of both keys must next be refreshed (ms)>'
--   k<key>  id of the item with this key
--   <id>    what the user has done with an item: letters of 's' seen, 'r' read, 'a' archived; none
--           for a new item
-- Invariants
-- 1. Ids grow: a new item is newer than every item before it, also when the clock goes back.
-- 2. The counts are those of the items that are not archived and not read or not seen.
-- 3. There are at most max_items items, and none stays longer than ttl_ms. Both keys expire at the
--    same time, an eighth of ttl_ms to a quarter of it after the last item could have expired.

local NO_ITEM = '0-0' -- the id of the newest item of an inbox that never had one

-- Returns the limits of inboxes from their text, which is the same for all inboxes of a call.
local max_items, max_ttl_ms
local function parse_inbox_limits(text)
  if not max_items then
    local items, ttl_ms = string.match(text, '^(%d+) (%d+)$')
    max_items, max_ttl_ms = tonumber(items), tonumber(ttl_ms)
  end
  return max_items, max_ttl_ms
end

-- Returns the state of an inbox. limits: 'max_items ttl_ms'.
local function open_inbox(state_key, items_key, limits)
  local state = redis.call('HGET', state_key, 'c') or '0 0 0 ' .. NO_ITEM .. ' 0 0'
  local count, unread, unseen, last, expires_ms, refresh_ms = string.match(state, '^(%d+) (%d+) (%d+) (%S+) (%d+) (%d+)$')
  local max_items, ttl_ms = parse_inbox_limits(limits)
  return {
    state_key = state_key, items_key = items_key, max_items = max_items, ttl_ms = ttl_ms,
    count = tonumber(count), unread = tonumber(unread), unseen = tonumber(unseen), last = last,
    expires_ms = expires_ms ~= '0' and tonumber(expires_ms) or nil, refresh_ms = tonumber(refresh_ms)
  }
end

-- Returns one of the last fields of an item, '' if it has none.
local function extra_field(entry, name)
  for n = 11, #entry[2], 2 do
    if entry[2][n] == name then
      return entry[2][n + 1]
    end
  end
  return ''
end

-- Writes the state of an inbox, and further fields of its hash.
local function save_inbox(inbox, now, ...)
  local is_due = now >= inbox.refresh_ms
  if is_due then
    inbox.refresh_ms = now + math.floor(inbox.ttl_ms / 8)
  end
  redis.call('HSET', inbox.state_key, 'c', string.format('%d %d %d %s %d %d', inbox.count, inbox.unread,
    inbox.unseen, inbox.last, inbox.expires_ms or 0, inbox.refresh_ms), ...)
  if is_due then
    local ttl_ms = math.ceil(inbox.ttl_ms * 10 / 8)
    redis.call('PEXPIRE', inbox.state_key, ttl_ms)
    redis.call('PEXPIRE', inbox.items_key, ttl_ms)
  end
end

local function counts_unread(flags)
  return not string.find(flags, '[ra]') and 1 or 0
end

local function counts_unseen(flags)
  return not string.find(flags, '[sa]') and 1 or 0
end

-- Removes an item. entry: as XRANGE returns it.
local function remove_item(inbox, entry)
  local id, key = entry[1], entry[2][4]
  local flags = redis.call('HGET', inbox.state_key, id) or ''
  redis.call('XDEL', inbox.items_key, id)
  redis.call('HDEL', inbox.state_key, id)
  if key ~= '' then
    redis.call('HDEL', inbox.state_key, 'k' .. key)
  end
  inbox.count = inbox.count - 1
  inbox.unread = inbox.unread - counts_unread(flags)
  inbox.unseen = inbox.unseen - counts_unseen(flags)
end

-- Removes the items whose time is over. Returns their ids.
local function remove_expired(inbox, now)
  local removed = {}
  if not inbox.expires_ms or now < inbox.expires_ms then
    return removed
  end
  inbox.expires_ms = nil
  for _, entry in ipairs(redis.call('XRANGE', inbox.items_key, '-', '+')) do
    local expires_ms = tonumber(entry[2][2])
    if expires_ms <= now then
      remove_item(inbox, entry)
      removed[#removed + 1] = entry[1]
    elseif not inbox.expires_ms or expires_ms < inbox.expires_ms then
      inbox.expires_ms = expires_ms
    end
  end
  return removed
end

-- Returns the id of a new item. The time in it has 13 digits, so that it is compared as a text.
local function next_item_id(inbox, now)
  local now_text = string.format('%013d', now)
  if inbox.last == NO_ITEM or now_text > string.sub(inbox.last, 1, 13) then
    return now_text .. '-0'
  end
  local ms, n = string.match(inbox.last, '^(%d+)-(%d+)$')
  return ms .. '-' .. string.format('%d', tonumber(n) + 1)
end

-- Returns the event of new or replaced items, as JSON.
local function item_event(inbox, id, item, data, replaced)
  return '{"item":{"id":"' .. id .. '",' .. item.fields .. ',"data":' .. data .. ',"created_at":'
    .. string.sub(id, 1, 10) .. '.' .. string.sub(id, 11, 13)
    .. ',"seen":false,"read":false,"archived":false},"replaced":' .. (replaced and 'true' or 'false')
    .. ',"unread":' .. inbox.unread .. ',"unseen":' .. inbox.unseen .. '}'
end

-- Returns the event of changed items, as JSON.
local function change_event(inbox, ids, change)
  return '{"unread":' .. inbox.unread .. ',"unseen":' .. inbox.unseen .. ',"items":["' .. table.concat(ids, '","') .. '"],"change":"' .. change .. '"}'
end

-- Removes the items that expired, and the oldest ones until there is room for one more. key: that of
-- the item that comes, whose predecessor makes room too. Returns the event of the removal as JSON, or
-- nil, and the predecessor, as XRANGE returns it.
local function make_room(inbox, key, now)
  local removed = remove_expired(inbox, now)
  local id = key ~= '' and redis.call('HGET', inbox.state_key, 'k' .. key)
  local before = id and redis.call('XRANGE', inbox.items_key, id, id)[1]
  while inbox.count - (before and 1 or 0) >= inbox.max_items do
    local oldest = redis.call('XRANGE', inbox.items_key, '-', '+', 'COUNT', 2)
    local entry = before and oldest[1] and oldest[1][1] == before[1] and oldest[2] or oldest[1]
    if not entry then
      break
    end
    remove_item(inbox, entry)
    removed[#removed + 1] = entry[1]
  end
  return removed[1] and change_event(inbox, removed, 'expire'), before
end

-- Adds an item {key, category, ttl_ms or '', fields, required, pushes, position}. Returns its id, the event of the item, and the
-- event of items that were removed for it, or nil.
local function add_item(inbox, item, data, now)
  local removal, before = make_room(inbox, item.key, now)
  if before then
    remove_item(inbox, before)
  end
  local id, ttl_ms = next_item_id(inbox, now), inbox.ttl_ms
  if item.ttl_ms ~= '' then
    ttl_ms = math.min(ttl_ms, tonumber(item.ttl_ms))
  end
  local expires_ms = now + ttl_ms
  local extra = {}
  if item.required ~= '' then
    extra = {'r', '1'}
  end
  if item.pushes ~= '' then
    extra[#extra + 1] = 'p'
    extra[#extra + 1] = item.pushes
    extra[#extra + 1] = 'o'
    extra[#extra + 1] = item.position
  end
  redis.call('XADD', inbox.items_key, id, 'x', string.format('%d', expires_ms), 'k', item.key,
    'c', item.category, 'm', item.fields, 'd', data, unpack(extra))
  inbox.last, inbox.count = id, inbox.count + 1
  inbox.unread, inbox.unseen = inbox.unread + 1, inbox.unseen + 1
  inbox.expires_ms = math.min(inbox.expires_ms or expires_ms, expires_ms)
  if item.key ~= '' then
    save_inbox(inbox, now, 'k' .. item.key, id)
  else
    save_inbox(inbox, now)
  end
  return id, item_event(inbox, id, item, data, before and true or false), removal
end

-- Appends the events of a new item to the user's channel: removed, that of the items that were removed
-- for it, or nil, and added. Returns their notification.
local function append_item_events(log, head_key, log_key, retention, added, removed)
  local epoch, offset
  if removed then
    epoch, offset = append(log, head_key, log_key, 'inbox.changed', removed, retention, nil, true)
  end
  local added_epoch, added_offset = append(log, head_key, log_key, 'inbox.item', added, retention)
  local following = notification(added_epoch, added_offset, '', 'inbox.item', added)
  return removed and notification(epoch, offset, '', 'inbox.changed', removed, following) or following
end

-- Removes the items that expired, and appends the event of it to the user's channel.
local function announce_expired(inbox, log, head_key, log_key, command, retention)
  local expires_ms = inbox.expires_ms
  local removed = remove_expired(inbox, log.now)
  if inbox.expires_ms ~= expires_ms then
    save_inbox(inbox, log.now)
  end
  if removed[1] then
    local data = change_event(inbox, removed, 'expire')
    local epoch, offset = append(log, head_key, log_key, 'inbox.changed', data, retention)
    notify(command, log_key, epoch, offset, '', 'inbox.changed', data)
  end
end

-- Changes or deletes one item. entry: as XRANGE returns it. Returns whether anything is different.
local function change_item(inbox, entry, change)
  if change == 'delete' then
    remove_item(inbox, entry)
    return true
  end
  local before = redis.call('HGET', inbox.state_key, entry[1]) or ''
  local seen, read = string.find(before, 's'), string.find(before, 'r')
  local archived = string.find(before, 'a')
  if change == 'read' then
    seen, read = true, true
  elseif change == 'unread' then
    read = false
  elseif change == 'seen' then
    seen = true
  else
    archived = change == 'archive'
  end
  local after = (seen and 's' or '') .. (read and 'r' or '') .. (archived and 'a' or '')
  if after == before then
    return false
  end
  if after == '' then
    redis.call('HDEL', inbox.state_key, entry[1])
  else
    redis.call('HSET', inbox.state_key, entry[1], after)
  end
  inbox.unread = inbox.unread + counts_unread(after) - counts_unread(before)
  inbox.unseen = inbox.unseen + counts_unseen(after) - counts_unseen(before)
  return true
end

-- Returns whether the user has muted the category of an item that is not required. The settings of a
-- topic or `all` do not exist.
local function is_muted(item)
  return item.category ~= '' and item.required == ''
    and redis.call('HEXISTS', item.settings_key, 'm ' .. item.category) == 1
end
