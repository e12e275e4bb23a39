-- Creates the record of a generation, once for each idempotency key of a user in a channel.
-- KEYS  1 head of the channel  2 its log  3 key of the idempotency key  4 record  5 parts
--       6 open generations  7 generations of the user (user_generations.lua), or any key
--       optionally  8 newest generation of the chat  9 open answers of the chat, a sorted set
-- ARGV  1 run id  2 new epoch  3 ttl of the head in ms  4 digest of the request when there is an
--       idempotency key, else ''
--       5 id of the generation  6 user  7 request (JSON)  8 ttl of an ended record in ms
--       9 what lists show of it (JSON)  10 chat, or ''  11 allow, reject, enqueue, interrupt or steer:
--       what happens when the chat has an open answer  12 max open answers of a chat for enqueue and
--       interrupt  13 max generations of the user in its set,
--       or '' for an answer of a topic (add_to_user.lua), a space, and how many of them lists look at
--       14 '1' if its producer takes messages (steering.lua), or ''
--       with steer, which always has an idempotency key:  15 PUBLISH or SPUBLISH  16 retention of the
--       channel  17 digest of the message  18 message (JSON)  19 user (JSON)  20 max messages of an
--       answer  21 max bytes of them
-- Reply {id, epoch, offset, 1 if new, 1 if it waits, id of an answer that is stopped for it ...}: the
--       position is just before the generation's first event; or {'steered', id, epoch, offset, n}
--       when the open answer of this id has got the message, whose position is behind this one; or {}
--       when the idempotency key has started a generation with another request; or {'busy' or 'full',
--       id of the oldest open answer of the chat}, for interrupt and steer also 'busy' with an open
--       answer of another user; or {'relay' or 'steering_full', id of the answer that takes no message}
-- Invariants
-- 1. An idempotency key that has started a generation, or sent a message to one, does neither again
--    while both exist. The key lives as long as the record, whose field `beside` has the names of such
--    keys, one a line.
-- 2. A generation is among the open ones from its creation to its end. Meanwhile its record lives at
--    least as long as a head, so that a clock that is ahead after a fail-over does not expire it.
-- 3. A chat's set has its open answers in the order of their requests. An answer that was started
--    with enqueue, interrupt or steer begins only when every one before it has ended (publish.lua
--    checks it too): the field `waits` of its record names the set. One that was started with reject
--    exists only if there was no open one before it, and with steer only if those are about to stop.
-- 4. A second call with the same id changes nothing.
local open_ttl_ms = math.max(tonumber(ARGV[3]), tonumber(ARGV[8]))

-- Remembers the idempotency key as long as a record exists. value: without the digest of the request.
local function remember_key(record_key, value, n)
  redis.call('SET', KEYS[3], value .. ' ' .. ARGV[4] .. n, 'PX', open_ttl_ms)
  local beside = redis.call('HGET', record_key, 'beside')
  redis.call('HSET', record_key, 'beside', beside and (beside .. '\n' .. KEYS[3]) or KEYS[3])
end

-- Sends the message to an open answer. Returns the reply of the script.
local function steer_open(record_key, id, user)
  if user ~= ARGV[6] then
    return {'busy', id}
  end
  local head = read_head(KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3])
  local epoch, offset = head.epoch, head.offset
  local log = {
    run_id = ARGV[1], new_epoch = ARGV[2], head_ttl_ms = ARGV[3], command = ARGV[15],
    retention = ARGV[16]
  }
  local sent = {key = '', digest = ARGV[17], message = ARGV[18], by = ARGV[19]}
  local bounds = {messages = tonumber(ARGV[20]), bytes = tonumber(ARGV[21])}
  local n, refusal = steer(record_key, KEYS[1], KEYS[2], sent, bounds, log)
  if not n then
    return {refusal == 'full' and 'steering_full' or refusal, id}
  end
  remember_key(record_key, id .. ' ' .. epoch .. ' ' .. string.format('%d', offset), ' ' .. n)
  return {'steered', id, epoch, offset, n}
end

if ARGV[4] ~= '' then
  local before = redis.call('GET', KEYS[3])
  if before then
    local id, epoch, offset, digest, n = string.match(before, '^(%w+) (%w+) (%d+) (%w+) ?(%d*)$')
    if redis.call('HGET', record_prefix(KEYS[4]) .. id, 'status') then
      if digest ~= ARGV[4] then
        return {}
      elseif n ~= '' then
        return {'steered', id, epoch, tonumber(offset), tonumber(n)}
      end
      return {id, epoch, tonumber(offset), 0}
    end
  end
end
local created = redis.call('HMGET', KEYS[4], 'after', 'waits')
if created[1] then
  local epoch, offset = string.match(created[1], '^(%w+) (%d+)$')
  return {ARGV[5], epoch, tonumber(offset), 1, created[2] and 1 or 0}
end
local stopped, waits = {}, false
if KEYS[9] then
  local prefix = record_prefix(KEYS[4])
  local open = open_before(KEYS[9], prefix, ARGV[5], tonumber(ARGV[12]))
  for _, other in ipairs(ARGV[11] == 'interrupt' and open or {}) do
    if redis.call('HGET', prefix .. other, 'user') ~= ARGV[6] then
      return {'busy', other} -- only its own user may stop it
    end
  end
  for _, other in ipairs(ARGV[11] == 'steer' and open or {}) do
    local record = redis.call('HMGET', prefix .. other, 'status', 'user')
    if record[1] ~= 'stopping' then
      return steer_open(prefix .. other, other, record[2])
    end
  end
  waits = #open > 0 and (ARGV[11] == 'enqueue' or ARGV[11] == 'interrupt' or ARGV[11] == 'steer')
  if #open > 0 and ARGV[11] == 'reject' then
    return {'busy', open[1]}
  elseif waits and #open >= tonumber(ARGV[12]) then
    return {'full', open[1]}
  elseif waits and ARGV[11] == 'interrupt' then
    for _, other in ipairs(open) do
      if redis.call('HSETNX', prefix .. other, 'stop_requested_by', ARGV[6]) == 1 then
        redis.call('HSET', prefix .. other, 'status', 'stopping')
        stopped[#stopped + 1] = other
      end
    end
  end
end
local head = read_head(KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3])
local now = now_ms()
local after = head.epoch .. ' ' .. string.format('%d', head.offset)
redis.call('HSET', KEYS[4], 'user', ARGV[6], 'request', ARGV[7],
  'status', 'queued', 'attempt', 0, 'deltas', 0, 'after', after,
  'summary', ARGV[9], 'requested_at', string.format('%.3f', now / 1000), 'clock', current_history(ARGV[1]))
redis.call('PEXPIRE', KEYS[4], open_ttl_ms)
redis.call('SET', KEYS[5], '', 'PX', open_ttl_ms)
redis.call('ZADD', KEYS[6], now, ARGV[5])
extend_ttl(KEYS[6], open_ttl_ms)
if ARGV[14] ~= '' then
  redis.call('HSET', KEYS[4], 'steerable', ARGV[14])
end
if ARGV[4] ~= '' then
  remember_key(KEYS[4], ARGV[5] .. ' ' .. after, '')
end
if ARGV[13] ~= '' then
  local max, max_listed = string.match(ARGV[13], '^(%d+) (%d+)$')
  add_to_user(KEYS[7], ARGV[5], now, max, max_listed, open_ttl_ms)
end
if KEYS[8] then
  redis.call('HSET', KEYS[4], 'chat', ARGV[10])
  local before = redis.call('GET', KEYS[8])
  if before then
    redis.call('HSET', KEYS[4], 'before', before)
  end
  redis.call('SET', KEYS[8], ARGV[5], 'PX', ARGV[8])
  local newest = redis.call('ZRANGE', KEYS[9], -1, -1, 'WITHSCORES')
  redis.call('ZADD', KEYS[9], (tonumber(newest[2]) or 0) + 1, ARGV[5])
  extend_ttl(KEYS[9], open_ttl_ms)
  if waits then
    redis.call('HSET', KEYS[4], 'waits', KEYS[9])
  end
end
local beside = {redis.call('HGET', KEYS[4], 'beside') or nil}
if ARGV[13] ~= '' then
  beside[#beside + 1] = KEYS[7]
end
if KEYS[8] then
  beside[#beside + 1], beside[#beside + 2] = KEYS[8], KEYS[9]
end
if #beside > 0 then
  redis.call('HSET', KEYS[4], 'beside', table.concat(beside, '\n'))
end
return {ARGV[5], head.epoch, head.offset, 1, waits and 1 or 0, unpack(stopped)}
