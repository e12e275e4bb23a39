-- Shared by several scripts: the items of one inbox. Needs append.lua.
-- The stream of items, whose entries have the id of the item and the fields
--   m  six lines: ttl in ms, with 'k' behind it if there is a key, and 'p' if there are pushes; key; category;
--      1 if it is required; ids of the deliveries of the queue `push` to cancel when it is read; the fields
--      that the publisher set, a part of a JSON object. Lines of what an item does not have are empty.
--   d  the data
--   o  position of the event (epoch and offset), if it is pushed
-- A hash beside it, which most inboxes do not need:
--   k<key>  id of the item with this key
--   <id>    what the user has done with an item: letters of 's' seen, 'r' read, 'a' archived; none
--           for a new item
-- And the field i of the channel's head, because a publish reads and writes the head anyway:
--   '<number of items> <unread ones> <unseen ones> <id of the newest item that was ever there> <when an item
--   may expire next, or the ttls of stream and hash must be refreshed (ms)>', and ' m' if the user may have
--   muted categories. It has at most 64 bytes, so that the head stays a compact hash.
-- Invariants
-- 1. Ids grow: a new item is newer than every item before it, also when the clock goes back.
-- 2. The counts are those of the items that are not archived and not read or not seen. Whoever removes the
--    field i, or the head with it, loses nothing: it is counted again from the stream and the hash.
-- 3. There are at most max_stored_items items; when there are more, the oldest are removed until there are
--    max_items (hub/core/inbox.py). None stays longer than its ttl after the time in its id. Stream
--    and hash expire an eighth of ttl_ms to a quarter of it after the last item could have expired.

local match, format, sub = string.match, string.format, string.sub

-- Returns the functions of inboxes. limits: 'max_items max_stored_items ttl_ms'. They are created here and not by every script,
-- because creating them costs more than most items need: see keep_item.lua.
local function load_inboxes(limits)
  local max_items, max_stored_items, max_ttl_ms = match(limits, '^(%d+) (%d+) (%d+)$')
  max_items, max_stored_items, max_ttl_ms = tonumber(max_items), tonumber(max_stored_items), tonumber(max_ttl_ms)
  local NO_ITEM = '0-0' -- the id of the newest item of an inbox that never had one
  local ALWAYS_DUE = '0000000000000' -- times have 13 digits, so that they are compared as texts

  -- Returns a key of the inbox by its name, from the key of its items.
  local function inbox_key(items_key, name)
    local tag, channel = string.match(items_key, '^([^}]*}):inbox_items:(.*)$')
    return tag .. ':' .. name .. ':' .. channel
  end

  local function state_key(inbox)
    return inbox_key(inbox.items_key, 'inbox')
  end

  -- Returns ttl in ms, key, category, whether it is required ('1' or ''), and pushes of an item. entry: as
  -- XRANGE returns it.
  local function item_options(entry)
    return match(entry[2][2], '^(%d+)%a*\n([^\n]*)\n([^\n]*)\n(1?)\n([^\n]*)')
  end

  -- Returns the fields that the publisher set. One step for each line, because a search for the last line
  -- ('[^\n]*$') would read each of the others as often as it has characters.
  local function publisher_fields(entry)
    return match(entry[2][2], '^[^\n]*\n[^\n]*\n[^\n]*\n[^\n]*\n[^\n]*\n(.*)$')
  end

  local function item_expiry(entry)
    return tonumber(match(entry[1], '^%d+')) + tonumber(match(entry[2][2], '^%d+'))
  end

  local function counts_unread(flags)
    return not string.find(flags, '[ra]') and 1 or 0
  end

  local function counts_unseen(flags)
    return not string.find(flags, '[sa]') and 1 or 0
  end

  -- Returns what the user has done with an item.
  local function flags_of(inbox, id)
    if inbox.unread == inbox.count and inbox.unseen == inbox.count then
      return '' -- the user has done nothing with any item
    end
    return redis.call('HGET', state_key(inbox), id) or ''
  end

  -- Counts the items of an inbox again.
  local function count_items(inbox)
    local info = redis.pcall('XINFO', 'STREAM', inbox.items_key)
    if info.err and string.find(info.err, 'no such key', 1, true) then
      return
    end
    for n = 1, #info, 2 do
      if info[n] == 'last-generated-id' then
        inbox.last = info[n + 1]
      end
    end
    for _, entry in ipairs(redis.call('XRANGE', inbox.items_key, '-', '+')) do
      local flags = redis.call('HGET', state_key(inbox), entry[1]) or ''
      inbox.count = inbox.count + 1
      inbox.unread = inbox.unread + counts_unread(flags)
      inbox.unseen = inbox.unseen + counts_unseen(flags)
    end
  end

  -- Returns an inbox. state: the field i of the head, or false.
  local function open_inbox(state, items_key)
    local count, unread, unseen, last, check = match(state or '', '^(%d+) (%d+) (%d+) (%S+) (.*)$')
    if check then -- otherwise it is counted again, also if keys were lost and the counts became wrong
      return {
        items_key = items_key, count = tonumber(count), unread = tonumber(unread), unseen = tonumber(unseen),
        last = last, check = check, is_due = false
      }
    end
    local has_muted = redis.call('HEXISTS', inbox_key(items_key, 'inbox_settings'), 'p') == 1
    local inbox = {
      items_key = items_key, count = 0, unread = 0, unseen = 0, last = NO_ITEM,
      check = ALWAYS_DUE .. (has_muted and ' m' or ''), is_due = false, is_counted = true
    }
    count_items(inbox)
    return inbox
  end

  -- Returns the inbox of a channel whose head this call has not read.
  local function open_inbox_of(head_key, items_key)
    local head = redis.call('HMGET', head_key, 'i', 'h')
    local inbox = open_inbox(head[1], items_key)
    inbox.has_head, inbox.is_recounted = head[2], inbox.is_counted and inbox.count > 0
    return inbox
  end

  -- Sets the time of the next check, unless it is earlier.
  local function check_at(inbox, time)
    if time < inbox.check then
      inbox.check = time .. sub(inbox.check, 14)
    end
  end

  -- Returns the field i of the head.
  local function encode_inbox(inbox)
    return format('%d %d %d ', inbox.count, inbox.unread, inbox.unseen) .. inbox.last .. ' ' .. inbox.check
  end

  local function refresh_ttls(inbox)
    local ttl_ms = math.ceil(max_ttl_ms * 10 / 8)
    redis.call('PEXPIRE', state_key(inbox), ttl_ms)
    redis.call('PEXPIRE', inbox.items_key, ttl_ms)
  end

  -- Writes the field i of a head that exists.
  local function save_inbox(inbox, head_key)
    redis.call('HSET', head_key, 'i', encode_inbox(inbox))
    if inbox.is_due then
      refresh_ttls(inbox)
    end
  end

  -- Writes a field of the hash.
  local function set_field(inbox, field, value)
    if redis.call('HSET', state_key(inbox), field, value) == 1 then
      redis.call('PEXPIRE', state_key(inbox), math.ceil(max_ttl_ms * 10 / 8), 'NX') -- it may be new
    end
  end

  -- Removes an item from the stream, the counts and the hash, but for its key. Returns whether it was there.
  local function drop_item(inbox, id)
    local flags = flags_of(inbox, id)
    if redis.call('XDEL', inbox.items_key, id) == 0 then
      return false
    end
    if flags ~= '' then
      redis.call('HDEL', state_key(inbox), id)
    end
    inbox.count = inbox.count - 1
    inbox.unread = inbox.unread - counts_unread(flags)
    inbox.unseen = inbox.unseen - counts_unseen(flags)
    return true
  end

  -- Removes items, with few commands for all. entries: as XRANGE returns them. first_kept: the id of the
  -- oldest item that stays, if all before it are removed, otherwise nil.
  local function remove_items(inbox, entries, first_kept)
    for first = 1, #entries, 500 do -- more arguments would not fit into one command
      local ids, fields = {}, {}
      for n = first, math.min(first + 499, #entries) do
        ids[#ids + 1] = entries[n][1]
        local key = match(entries[n][2][2], '^%d+kp?\n([^\n]*)')
        if key then
          fields[#fields + 1] = 'k' .. key
        end
      end
      local all_flags = {}
      if inbox.unread ~= inbox.count or inbox.unseen ~= inbox.count then
        all_flags = redis.call('HMGET', state_key(inbox), unpack(ids))
      end
      for n, id in ipairs(ids) do
        local flags = all_flags[n] or ''
        if flags ~= '' then
          fields[#fields + 1] = id
        end
        inbox.unread = inbox.unread - counts_unread(flags)
        inbox.unseen = inbox.unseen - counts_unseen(flags)
      end
      inbox.count = inbox.count - #ids
      if first_kept == nil then
        redis.call('XDEL', inbox.items_key, unpack(ids))
      end
      if fields[1] then
        redis.call('HDEL', state_key(inbox), unpack(fields))
      end
    end
    if first_kept then
      redis.call('XTRIM', inbox.items_key, 'MINID', first_kept)
    end
  end

  local function ids_of(entries)
    local ids = {}
    for n, entry in ipairs(entries) do
      ids[n] = entry[1]
    end
    return ids
  end

  -- Removes the items whose time is over, if it is time to check. Returns their ids. Sets is_due if refresh_ttls
  -- must follow.
  local function remove_expired(inbox, log)
    local removed = {}
    if log.now_text < inbox.check then
      return removed
    end
    inbox.is_due = true
    inbox.check = format('%013d', log.now + math.floor(max_ttl_ms / 8)) .. sub(inbox.check, 14)
    local entries = redis.call('XRANGE', inbox.items_key, '-', '+')
    if not entries[1] then -- the whole stream has expired
      inbox.count, inbox.unread, inbox.unseen = 0, 0, 0
    end
    for _, entry in ipairs(entries) do
      local expires = format('%013d', item_expiry(entry))
      if expires <= log.now_text then
        removed[#removed + 1] = entry
      else
        check_at(inbox, expires)
      end
    end
    remove_items(inbox, removed)
    return ids_of(removed)
  end

  -- Returns the event of changed items, as JSON.
  local function change_event(inbox, ids, change)
    return '{"unread":' .. inbox.unread .. ',"unseen":' .. inbox.unseen .. ',"items":["' .. table.concat(ids, '","') .. '"],"change":"' .. change .. '"}'
  end

  -- Removes the items that expired, the oldest ones if there is no room for one more, and the one with the
  -- same key. Returns the event of the removal of all but the last one as JSON, or nil, and whether there
  -- was one with the key.
  local function make_room(inbox, key, log)
    local removed = remove_expired(inbox, log)
    local before = key ~= '' and redis.call('HGET', state_key(inbox), 'k' .. key)
    local others = inbox.count - (before and 1 or 0)
    if others >= max_stored_items then
      local excess = others - max_items + 1
      local oldest, entries = redis.call('XRANGE', inbox.items_key, '-', '+', 'COUNT', excess + 1), {}
      for _, entry in ipairs(oldest) do
        if entry[1] ~= before and #entries < excess then
          entries[#entries + 1] = entry
          removed[#removed + 1] = entry[1]
        end
      end
      remove_items(inbox, entries, not before and oldest[excess + 1] and oldest[excess + 1][1] or nil)
    end
    local removal = removed[1] and change_event(inbox, removed, 'expire')
    return removal, before and drop_item(inbox, before) or false
  end

  -- Returns the id of a new item.
  local function next_item_id(last, log)
    if log.now_text > sub(last, 1, 13) then
      return log.now_text .. '-0'
    end
    local ms, n = match(last, '^(%d+)-(%d+)$')
    return ms .. '-' .. format('%d', tonumber(n) + 1)
  end

  -- Returns when an item expires that is added now.
  local function expiry_of(ttl_ms, log)
    return format('%013d', log.now + tonumber(ttl_ms))
  end

  -- Returns whether the user has muted the category of an item that is not required.
  local function is_muted(inbox, meta)
    local category, required = match(meta, '^%d+%a*\n[^\n]*\n([^\n]*)\n(1?)')
    return category ~= '' and required == ''
      and redis.call('HEXISTS', inbox_key(inbox.items_key, 'inbox_settings'), 'm ' .. category) == 1
  end

  -- Does what prepare_item does, for any inbox and any item.
  local function prepare_any_item(log, state, items_key, meta)
    local inbox = open_inbox(state, items_key)
    if #inbox.check > 13 and is_muted(inbox, meta) then
      return nil
    end
    local ttl_ms, key = match(meta, '^(%d+)%a*\n([^\n]*)')
    local removal, replaced = make_room(inbox, key, log)
    inbox.last, inbox.count = next_item_id(inbox.last, log), inbox.count + 1
    inbox.unread, inbox.unseen = inbox.unread + 1, inbox.unseen + 1
    check_at(inbox, expiry_of(ttl_ms, log))
    local new_state = encode_inbox(inbox)
    return {
      id = inbox.last, state = new_state, text = new_state .. '\n' .. meta, meta = meta, items_key = items_key, kind = replaced and 'k' or 'i',
      removal = removal, inbox = inbox, key = key, has_pushes = match(meta, '^%d+k?p')
    }
  end

  -- Removes the items that expired from an inbox that open_inbox_of has returned, and appends the event of it
  -- to the user's channel.
  local function announce_expired(inbox, log, head_key, log_key, command, retention)
    local removed = remove_expired(inbox, log)
    if removed[1] then
      local data = change_event(inbox, removed, 'expire')
      local epoch, offset = append(log, head_key, log_key, 'inbox.changed', data, retention)
      notify(command, log_key, epoch, offset, '', 'inbox.changed', data)
    end
    if removed[1] or inbox.has_head and (inbox.is_due or inbox.is_recounted) then
      save_inbox(inbox, head_key)
    end
  end

  -- Changes or deletes one item. entry: as XRANGE returns it. Returns whether anything is different.
  local function change_item(inbox, entry, change)
    if change == 'delete' then
      remove_items(inbox, {entry})
      return true
    end
    local before = flags_of(inbox, entry[1])
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
      redis.call('HDEL', state_key(inbox), entry[1])
    else
      set_field(inbox, entry[1], after)
    end
    inbox.unread = inbox.unread + counts_unread(after) - counts_unread(before)
    inbox.unseen = inbox.unseen + counts_unseen(after) - counts_unseen(before)
    return true
  end

  return {
    item_options = item_options,
    publisher_fields = publisher_fields,
    item_expiry = item_expiry,
    flags_of = flags_of,
    counts_unread = counts_unread,
    open_inbox_of = open_inbox_of,
    save_inbox = save_inbox,
    set_field = set_field,
    refresh_ttls = refresh_ttls,
    change_event = change_event,
    prepare_any_item = prepare_any_item,
    announce_expired = announce_expired,
    change_item = change_item,
  }
end
