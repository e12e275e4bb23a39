-- The first part of publish.lua, which says what the arguments are. Publishes the first events of a call
-- as long as they need nothing but a place in the log of a channel that has one, and in its inbox, as most
-- events do; the rest of the script publishes the others. It is written without functions, because creating
-- all those of the rest costs the broker more than a plain event.
-- Invariants
-- 1. What it writes of an event is what append.lua and keep_item.lua write.
-- 2. It leaves an event to the rest before anything of the event is written: if its flags are others than the
--    kind of the channel and b; if the channel has no head, or one of another history; if the ttls of head and
--    log must be refreshed or the log trimmed by bytes or time; if the inbox is full, must be counted or
--    refreshed, or may have muted categories; if the item has pushes.
local key, arg, replies = 0, 3, {} -- the last key and argument that were read; what is replied
local plain_time, plain_history -- read once in a call

-- Publishes events from the next one on, until one needs the rest of the script.
local function publish_plain()
  local keys, args, sub, find = KEYS, ARGV, string.sub, string.find
  local flags = args[arg + 1]
  if not flags or #flags > 1 and sub(flags, 2) ~= 'b' then
    return
  end
  local call, match, format = redis.call, string.match, string.format
  if not plain_time then
    local time, known = call('TIME'), args[1]
    plain_time = time[1] .. sub(#time[2] == 6 and time[2] or format('%06d', time[2]), 1, 3)
    if #known > 44 and plain_time >= sub(known, 18, 30) and plain_time <= sub(known, 32, 44) then
      plain_history = ' ' .. sub(known, 1, 16) .. ' '
    else -- see current_history in channel_head.lua; without INFO every event needs the rest
      local info = redis.pcall('INFO', 'replication')
      local _, last = find(type(info) == 'string' and info or '', 'master_replid:', 1, true)
      plain_history = last and ' ' .. sub(info, last + 1, last + 16) .. ' ' or ''
    end
  end
  local now, history = plain_time, plain_history

  local head_key, epoch, check_ms, check_bytes, offset, before, bytes, state
  local max_stored_items, max_ttl_ms, successors, expiries -- what a call computes once for items
  while flags do
    local name, data, is_kept = args[arg + 2], args[arg + 3], #flags > 1
    if is_kept and sub(flags, 2) ~= 'b' then
      return
    end
    if head_key ~= keys[key + 1] or is_kept and state == nil then
      head_key = keys[key + 1]
      local fields = is_kept and call('HMGET', head_key, 'h', 'o', 'i') or call('HMGET', head_key, 'h', 'o')
      local head = fields[1]
      if not head or sub(head, 6, 23) ~= history then
        return
      end
      epoch, check_ms, check_bytes = sub(head, 1, 5), sub(head, 24, 36), sub(head, 38)
      local space = find(fields[2], ' ', 1, true)
      offset, before = tonumber(sub(fields[2], 1, space - 1)), sub(fields[2], space + 1)
      bytes, state = tonumber(before), fields[3]
    end
    offset, bytes = offset + 1, bytes + #name + #data
    local first, last, log_key = format('%d', offset), nil, keys[key + 2]

    -- The item: its field m, its id, the state of the inbox with it, the field of the hash for its key, the
    -- item that it replaces with what the user did with that, and what the log gets of it.
    local meta, id, new_state, key_field, hash_key, replaced, done, text, kind
    if is_kept then
      if not successors then
        successors, expiries = {}, {}
        max_stored_items, max_ttl_ms = match(args[3], '^%d+ (%d+) (%d+)')
        max_stored_items = tonumber(max_stored_items)
      end
      meta = args[arg + 4]
      local expires = expiries[meta]
      if not expires then
        local ttl_ms, item_key = match(meta, '^(%d+)k?\n([^\n]*)')
        if not ttl_ms then
          return
        end
        expires = format('%013d', now + ttl_ms)
        if item_key == '' then
          expiries[meta] = expires
        else
          local at = find(keys[key + 3], '}:inbox_items:', 1, true)
          hash_key, key_field = sub(keys[key + 3], 1, at + 6) .. sub(keys[key + 3], at + 13), 'k' .. item_key
          replaced = call('HGET', hash_key, key_field)
        end
      end
      local count, unread, unseen, last_ms, last_n, check = match(state or '', '^(%d+) (%d+) (%d+) (%d+)%-(%d+) (%d+)$')
      if not check or now >= check then
        return
      end
      if replaced then
        done = (unread ~= count or unseen ~= count) and call('HGET', hash_key, replaced) or ''
      elseif tonumber(count) >= max_stored_items then
        return
      else
        successors[count] = successors[count] or format('%d', count + 1)
        count = successors[count]
      end
      if not replaced or find(done, '[ra]') then
        successors[unread] = successors[unread] or format('%d', unread + 1)
        unread = successors[unread]
      end
      if not replaced or find(done, '[sa]') then
        successors[unseen] = successors[unseen] or format('%d', unseen + 1)
        unseen = successors[unseen]
      end
      id = now > last_ms and now .. '-0' or last_ms .. '-' .. format('%d', last_n + 1)
      new_state = count .. ' ' .. unread .. ' ' .. unseen .. ' ' .. id .. ' '
        .. (expires < check and expires or check)
      if flags == 'ub' then
        kind, text = replaced and 'k' or 'i', new_state .. '\n' .. meta
        offset, bytes = offset + 1, bytes + #text
        last = format('%d', offset)
      end
    end

    local after = format('%d', bytes)
    if now >= check_ms or #after > #check_bytes or #after == #check_bytes and after > check_bytes then
      return
    end
    if replaced then
      if call('XDEL', keys[key + 3], replaced) == 0 then
        return -- the stream has expired
      end
      if done ~= '' then
        call('HDEL', hash_key, replaced)
      end
    end
    if text then
      call('XADD', log_key, last .. '-' .. now, 'n', name, 'd', data, 'b', before, kind, text)
    else
      call('XADD', log_key, first .. '-' .. now, 'n', name, 'd', data, 'b', before)
    end
    if offset % 64 == 0 or text and offset % 64 == 1 then -- EVENTS_BETWEEN_TRIMS
      local user, topic, all = match(args[3], '^[^|]*|[^|]*|(%d+)[^|]*|(%d+)[^|]*|(%d+)')
      local kept = offset - tonumber(sub(flags, 1, 1) == 'u' and user or sub(flags, 1, 1) == 't' and topic or all) + 1
      if kept > 1 then
        call('XTRIM', log_key, 'MINID', '~', format('%d', kept))
      end
    end
    before = after
    local head_line = epoch .. '-' .. first
    if is_kept then
      state = new_state
      call('HSET', head_key, 'o', (last or first) .. ' ' .. after, 'i', state)
      call('XADD', keys[key + 3], id, 'm', meta, 'd', data)
      if key_field and call('HSET', hash_key, key_field, id) == 1 then
        call('PEXPIRE', hash_key, format('%d', math.ceil(max_ttl_ms * 10 / 8)), 'NX')
      end
      if text then
        head_line = head_line .. ' ' .. kind .. epoch .. '.' .. last .. '\n' .. text
      end
      replies[#replies + 1] = 'written ' .. epoch .. ' ' .. first .. ' 0 ' .. id .. ' '
      key, arg = key + 3, arg + 4
    else
      call('HSET', head_key, 'o', first .. ' ' .. after)
      replies[#replies + 1] = 'written ' .. epoch .. ' ' .. first .. ' 0  '
      key, arg = key + 2, arg + 3
    end
    call(args[2], log_key, head_line .. '\n' .. name .. '\n' .. data)
    flags = args[arg + 1]
  end
end

publish_plain()
if arg == #ARGV then
  do return #replies == 1 and replies[1] or table.concat(replies, '\n') end
end

local inbox_limits, new_epoch, head_ttl_ms, key_ttl_ms, record_ttl_ms, user_retention, topic_retention, all_retention
  = string.match(ARGV[3], '^([^|]*)|(%w+) (%d+) (%d+) (%d+)|([^|]*)|([^|]*)|([^|]*)$')
