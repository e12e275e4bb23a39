-- A part of publish.lua: updates the record of a generation in the atomic step of its event. A script
-- for events without updates has no_updates.lua in its place, because each function of a script costs
-- time in every call. Nearly all updates are deltas, so what they do not need is read only where it is
-- needed, and a delta refreshes the ttls only when an eighth of them has passed.
-- Fields of a record: renew_ms  the time from which on a delta refreshes the ttls of record and parts
--                     moments   when an attempt began or had its first delta, and when it all ended:
--                               lines '<begin, delta or end> <attempt> <time in ms>'
local MAX_MOMENT_BYTES = 2000

local function add_moment(record_key, kind, attempt)
  local moments = redis.call('HGET', record_key, 'moments') or ''
  if kind == 'end' or #moments < MAX_MOMENT_BYTES then
    local moment = kind .. ' ' .. string.format('%d %d', attempt, now_ms()) .. '\n'
    redis.call('HSET', record_key, 'moments', moments .. moment)
  end
end

-- Checks and updates the generation. Returns the outcome of a refusal, or nil, and who requested a
-- stop.
-- Third comes the answer of an input that was asked for again.
local function update_generation(name, data, external, input, record_key, parts_key, open_key, kind, attempt, status, index, entries, writer, journal_bytes)
  local record = redis.call('HMGET', record_key, 'status', 'attempt', 'deltas', 'stop_requested_by', 'writer', 'keep_until', 'renew_ms')
  local old_status, newest, deltas = record[1], tonumber(record[2]), tonumber(record[3])
  attempt, index, journal_bytes = tonumber(attempt), tonumber(index), tonumber(journal_bytes)
  if not old_status then
    return 'gone', ''
  end
  local stop_requested_by = record[4] or ''
  if old_status == 'done' or old_status == 'stopped' or old_status == 'failed' then
    return 'ended', stop_requested_by
  end
  if kind == 'input' then
    return answer_input(record_key, input, old_status, record[2], name, data), stop_requested_by
  end
  if kind == 'begin' then
    if newest ~= attempt - 1 or (journal_bytes and redis.call('STRLEN', parts_key) ~= journal_bytes) then
      return 'stale', stop_requested_by
    end
    local waits = redis.call('HGET', record_key, 'waits')
    if waits then
      if open_before(waits, record_prefix(record_key), string.match(record_key, '[^:]+$'), 1)[1] then
        return 'stale', stop_requested_by
      end
      redis.call('HDEL', record_key, 'waits')
    end
  elseif newest ~= attempt or (record[5] or '') ~= writer then
    return 'stale', stop_requested_by
  end
  if old_status == 'queued' and kind ~= 'begin' and kind ~= 'end' and not redis.call('HGET', record_key, 'suspended') then
    return 'stale', stop_requested_by
  end
  if external and kind ~= 'begin' then
    local state = redis.call('HMGET', record_key, 'progress', 'lease')
    if external.lease_ms ~= '' and (not state[2] or has_lease_ended(record_key, ARGV[1], state[2])) then
      return 'stale', stop_requested_by
    elseif state[1] ~= external.after then
      return 'gap', stop_requested_by
    end
  end
  if kind ~= 'begin' and index > deltas then
    return 'gap', stop_requested_by
  end
  local ttl_ms = math.max(tonumber(head_ttl_ms), tonumber(record_ttl_ms)) -- see create_generation.lua
  local renews = kind ~= 'delta' or input or now_ms() >= tonumber(record[7] or 0)
  if kind == 'delta' or kind == 'replace' or kind == 'restart' then
    if index < deltas then
      return 'duplicate', stop_requested_by
    end
    redis.call('HSET', record_key, 'deltas', kind == 'restart' and 0 or index + 1)
    if index == 0 and kind ~= 'restart' then
      add_moment(record_key, 'delta', attempt)
    end
    if kind ~= 'delta' then
      redis.call('SET', parts_key, entries)
    elseif entries ~= '' then
      local length = redis.call('APPEND', parts_key, entries)
      renews = renews or length == #entries -- it may be new, and without a ttl
    end
  elseif kind == 'store' then
    local length = redis.call('STRLEN', parts_key)
    if journal_bytes and length ~= journal_bytes then
      return length > journal_bytes and 'duplicate' or 'gap', stop_requested_by
    end
    redis.call('APPEND', parts_key, entries)
  elseif kind == 'compact' then
    if journal_bytes and redis.call('STRLEN', parts_key) ~= journal_bytes then
      local is_there = index < deltas or string.sub(redis.call('GET', parts_key) or '', 1, #entries) == entries
      return is_there and 'duplicate' or 'gap', stop_requested_by
    end
    redis.call('SET', parts_key, entries)
  elseif kind == 'begin' then
    if old_status ~= 'stopping' then
      redis.call('HSET', record_key, 'status', status)
    end
    redis.call('HSET', record_key, 'attempt', attempt, 'writer', writer, 'deltas', index)
    redis.call('HDEL', record_key, 'progress', 'notes', 'lease', 'suspended', 'open_inputs')
    add_moment(record_key, 'begin', attempt)
    redis.call('SET', parts_key, entries)
  else
    if redis.call('HGET', record_key, 'suspended') then
      forget_suspended(record_key)
    end
    redis.call('HSET', record_key, 'status', status, 'end', data)
    add_moment(record_key, 'end', attempt)
    if entries ~= '' then
      redis.call('APPEND', parts_key, entries)
    end
    redis.call('ZREM', open_key, string.match(record_key, '[^:]+$'))
    ttl_ms = record_ttl_ms
    for key in string.gmatch(redis.call('HGET', record_key, 'beside') or '', '[^\n]+') do
      extend_ttl(key, ttl_ms)
    end
  end
  if external then
    redis.call('HSET', record_key, 'progress', external.progress)
    if external.notes ~= '' then
      redis.call('HSET', record_key, 'notes', external.notes)
    end
    if external.lease_ms ~= '' then
      renew_lease(record_key, ARGV[1], external.lease_ms)
    end
  end
  if not renews then
    return nil, stop_requested_by
  end
  local keep_until, answer = tonumber(record[6] or 0), nil
  if input then
    keep_until, answer = ask_input(record_key, open_key, input, string.format('%d', attempt), ttl_ms)
  end
  if keep_until > 0 and kind ~= 'end' then
    ttl_ms = math.max(0, keep_until - now_ms()) + ttl_ms
  end
  if kind ~= 'end' then
    redis.call('HSET', record_key, 'renew_ms', string.format('%d', now_ms() + math.floor(ttl_ms / 8)))
    ttl_ms = math.ceil(ttl_ms * 9 / 8)
  end
  redis.call('PEXPIRE', record_key, ttl_ms)
  redis.call('PEXPIRE', parts_key, ttl_ms)
  return nil, stop_requested_by, answer
end

local function count_received(record_key)
  return tonumber(redis.call('HGET', record_key, 'received') or 0)
end
