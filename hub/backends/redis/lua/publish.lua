-- Publishes events one after the other: checks the idempotency key, checks and updates the
-- generation, assigns the offset, appends to the log, notifies the subscribers. One call takes many
-- events, so that their common arguments are sent once.
-- ARGV  1 run id  2 PUBLISH or SPUBLISH  3 new epoch  4 ttl of a head in ms
--       5 ttl of an idempotency key in ms  6 ttl of an ended record in ms  7 number of events
--       8 to 10 retention of a user's channel, of a topic and of `all`: 'events bytes ttl_ms'
--       then for each event: flags, name, data, and the arguments that the flags require
--       flags: u, t or a (user's channel, topic, all), then any of
--         e  ephemeral
--         k  has an idempotency key: one more key; one more argument, the digest of the event
--         y  with k, remembers the key for another time than ARGV 5: one more argument, in ms
--         x  has its own ttl: one more argument, in ms
--         s  updates a generation: three more keys: the record, the parts and the open
--            generations of the partition; seven more arguments:
--            begin, delta, replace, store, compact, restart, input or end; attempt; status; index of the
--            part;
--            entries of the journal of the parts; writer; length of the journal, or ''
--            an update of the kind store or compact has no event: nothing is published
--         l  with s, for an external producer (lease.lua): four more arguments: the progress that the
--            record must have; the progress after it; length of the lease in ms, or '' for an update
--            of the hub's own, which needs no lease; notes, or '' if they stay as they are
--         i  with s, for an input (inputs.lua): four more arguments: 'ask', or 'suspend <max suspended
--            answers of the user, negative without a limit>', with the update of the producer, or,
--            with the kind input, 'receive' or 'expire'; the key; the request (JSON), or
--            the digest of the one that is answered; the time in ms until which it may be answered
--         c  has a trace (without spaces, dashes and line ends), which follows the position in the
--            notification: one more argument
-- KEYS  for each event: head, log (also the name of the pub/sub channel), then those of the flags
-- Reply {outcome, epoch, offset, stop_requested_by} for each event; with l also how much users have
--       sent to the producer (steering.lua)
-- The value of an idempotency key is 'epoch offset digest' of the event that was published with it.
-- Invariants
-- 1. Nothing of an event is written unless every check passed. A refused event affects no other.
-- 2. An event that is repeated with its idempotency key, or with the index of its delta, writes
--    nothing. Another event with the same key is a conflict and writes nothing.
-- 3. An answer that waits for others of its chat (create_generation.lua) begins when they have ended.
--    A generation ends once, and only its newest attempt and that attempt's writer write.
--    Nothing is written behind a hole: an index above the number of deltas is refused.
--    Of an external producer, only the holder of a lease that has not ended writes, and every part
--    is published once: see rule 1 of core/external_producer.py.
--    An input is answered once. An event that asks for an input which has an answer is followed by the
--    event of the answer, for the readers for whom everything before has become void.
-- 4. See append.lua for what a log holds, and how long it lives.

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

local log = {run_id = ARGV[1], new_epoch = ARGV[3], head_ttl_ms = ARGV[4]}
local retentions = {}
local function retention_of(kind)
  if not retentions[kind] then
    retentions[kind] = parse_retention(ARGV[({u = 8, t = 9, a = 10})[kind]])
  end
  return retentions[kind]
end

local key, arg = 0, 10
local function next_key()
  key = key + 1
  return KEYS[key]
end
local function next_arg()
  arg = arg + 1
  return ARGV[arg]
end

local function publish()
  local head_key, log_key = next_key(), next_key()
  local flags, name, data, stop_requested_by = next_arg(), next_arg(), next_arg(), ''
  local retention = retention_of(string.sub(flags, 1, 1))
  local ephemeral, idempotency_key, digest, event_ttl_ms, update, external, input, answer
  local trace, key_ttl_ms = '', ARGV[5]
  if #flags > 1 then
    ephemeral = string.find(flags, 'e', 2, true)
    if string.find(flags, 'k', 2, true) then
      idempotency_key, digest = next_key(), next_arg()
    end
    if string.find(flags, 'y', 2, true) then
      key_ttl_ms = next_arg()
    end
    event_ttl_ms = string.find(flags, 'x', 2, true) and next_arg()
    if string.find(flags, 's', 2, true) then
      update = {next_key(), next_key(), next_key(), next_arg(), next_arg(), next_arg(), next_arg(), next_arg(), next_arg(), next_arg()}
    end
    if string.find(flags, 'l', 2, true) then
      external = {after = next_arg(), progress = next_arg(), lease_ms = next_arg(), notes = next_arg()}
    end
    if string.find(flags, 'i', 2, true) then
      input = {action = next_arg(), key = next_arg(), text = next_arg(), expires_ms = next_arg()}
    end
    if string.find(flags, 'c', 2, true) then
      trace = ' ' .. next_arg()
    end
  end
  if idempotency_key then
    local before = redis.call('GET', idempotency_key)
    if before then
      local epoch, offset, before_digest = string.match(before, '^(%w*) (%d+) (%w+)$')
      if before_digest ~= digest then
        return {'conflict', '', 0, ''}
      end
      -- A write, so that a caller who waits for replicas waits for the first publish too.
      redis.call('PEXPIRE', idempotency_key, redis.call('PTTL', idempotency_key))
      return {'duplicate', epoch, tonumber(offset), ''}
    end
  end
  if update then
    local refusal
    refusal, stop_requested_by, answer = update_generation(name, data, external, input, unpack(update))
    if refusal then
      return {refusal, '', 0, stop_requested_by}
    end
    if update[4] == 'store' or update[4] == 'compact' then
      return {'written', '', 0, stop_requested_by, external and count_received(update[1])}
    end
  end
  local epoch, offset = '', '0'
  if not ephemeral then
    epoch, offset = append(log, head_key, log_key, name, data, retention, event_ttl_ms)
  end
  if idempotency_key then
    redis.call('SET', idempotency_key, epoch .. ' ' .. offset .. ' ' .. digest, 'PX', key_ttl_ms)
  end
  notify(ARGV[2], log_key, epoch, offset, trace, name, data)
  if answer then
    local answer_name, answer_data = string.match(answer, '^[^\n]*\n([^\n]*)\n(.*)$')
    local at, number = append(log, head_key, log_key, answer_name, answer_data, retention)
    notify(ARGV[2], log_key, at, number, '', answer_name, answer_data)
  end
  return {'written', epoch, tonumber(offset), stop_requested_by, external and count_received(update[1])}
end

local replies = {}
for n = 1, tonumber(ARGV[7]) do
  replies[n] = publish()
end
return replies
