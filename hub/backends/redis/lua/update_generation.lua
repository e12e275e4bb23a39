-- A part of publish.lua: updates the record of a generation in the atomic step of its event. A script
-- for events without updates has no_updates.lua in its place, because each function of a script costs
-- time in every call.

-- Checks and updates the generation. Returns the outcome of a refusal, or nil, and who requested a
-- stop.
-- Third comes the answer of an input that was asked for again.
local function update_generation(name, data, external, input, record_key, parts_key, open_key, kind, attempt, status, index, entries, writer, journal_bytes)
  local record = redis.call('HMGET', record_key, 'status', 'attempt', 'deltas', 'stop_requested_by', 'writer', 'waits', 'progress', 'lease', 'keep_until', 'suspended')
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
    if record[6] then
      if open_before(record[6], record_prefix(record_key), string.match(record_key, '[^:]+$'), 1)[1] then
        return 'stale', stop_requested_by
      end
      redis.call('HDEL', record_key, 'waits')
    end
  elseif newest ~= attempt or (record[5] or '') ~= writer then
    return 'stale', stop_requested_by
  end
  if old_status == 'queued' and not record[10] and kind ~= 'begin' and kind ~= 'end' then
    return 'stale', stop_requested_by
  end
  if external and kind ~= 'begin' then
    if external.lease_ms ~= '' and (not record[8] or has_lease_ended(record_key, ARGV[1], record[8])) then
      return 'stale', stop_requested_by
    elseif record[7] ~= external.after then
      return 'gap', stop_requested_by
    end
  end
  if kind ~= 'begin' and index > deltas then
    return 'gap', stop_requested_by
  end
  local ttl_ms = math.max(tonumber(ARGV[4]), tonumber(ARGV[6])) -- see create_generation.lua
  if kind == 'delta' or kind == 'replace' or kind == 'restart' then
    if index < deltas then
      return 'duplicate', stop_requested_by
    end
    redis.call('HSET', record_key, 'deltas', kind == 'restart' and 0 or index + 1)
    if kind ~= 'delta' then
      redis.call('SET', parts_key, entries)
    elseif entries ~= '' then
      redis.call('APPEND', parts_key, entries)
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
    redis.call('SET', parts_key, entries)
  else
    if record[10] then
      forget_suspended(record_key)
    end
    redis.call('HSET', record_key, 'status', status, 'end', data)
    if entries ~= '' then
      redis.call('APPEND', parts_key, entries)
    end
    redis.call('ZREM', open_key, string.match(record_key, '[^:]+$'))
    ttl_ms = ARGV[6]
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
  local keep_until, answer = tonumber(record[9] or 0), nil
  if input then
    keep_until, answer = ask_input(record_key, open_key, input, string.format('%d', attempt), ttl_ms)
  end
  if keep_until > 0 and kind ~= 'end' then
    ttl_ms = math.max(0, keep_until - now_ms()) + ttl_ms
  end
  redis.call('PEXPIRE', record_key, ttl_ms)
  redis.call('PEXPIRE', parts_key, ttl_ms)
  return nil, stop_requested_by, answer
end

local function count_received(record_key)
  return tonumber(redis.call('HGET', record_key, 'received') or 0)
end
