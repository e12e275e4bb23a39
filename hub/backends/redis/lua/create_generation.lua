-- Creates the record of a generation, once for each idempotency key of a user in a channel.
-- KEYS  1 head of the channel  2 its log  3 key of the idempotency key  4 record  5 parts
--       6 open generations  7 generations of the user (user_generations.lua), or any key
--       optionally  8 newest generation of the chat  9 open answers of the chat, a sorted set
-- ARGV  1 run id  2 new epoch  3 ttl of the head in ms  4 digest of the request when there is an
--       idempotency key, else ''
--       5 id of the generation  6 user  7 request (JSON)  8 ttl of an ended record in ms
--       9 what lists show of it (JSON)  10 chat, or ''  11 allow, reject, enqueue or interrupt: what
--       happens when the chat has an open answer  12 max open answers of a chat for enqueue and
--       interrupt  13 max generations of the user in its set,
--       or '' for an answer of a topic (add_to_user.lua)
-- Reply {id, epoch, offset, 1 if new, 1 if it waits, id of an answer that is stopped for it ...}: the
--       position is just before the generation's first event; or {} when the idempotency key has
--       started a generation with another request; or {'busy' or 'full', id of the oldest open answer
--       of the chat}, for interrupt also 'busy' with an open answer of another user
-- Invariants
-- 1. An idempotency key that has started a generation starts no other one while both exist.
-- 2. A generation is among the open ones from its creation to its end. Meanwhile its record lives at
--    least as long as a head, so that a clock that is ahead after a fail-over does not expire it.
-- 3. A chat's set has its open answers in the order of their requests. An answer that was started
--    with enqueue or interrupt begins only when every one before it has ended (publish.lua checks it
--    too): the field `waits` of its record names the set. One that was started with reject exists
--    only if there was no open one before it.
-- 4. A second call with the same id changes nothing.
if ARGV[4] ~= '' then
  local before = redis.call('GET', KEYS[3])
  if before then
    local id, epoch, offset, digest = string.match(before, '^(%w+) (%w+) (%d+) (%w+)$')
    if redis.call('HGET', record_prefix(KEYS[4]) .. id, 'status') then
      if digest ~= ARGV[4] then
        return {}
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
  waits = #open > 0 and (ARGV[11] == 'enqueue' or ARGV[11] == 'interrupt')
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
local open_ttl_ms = math.max(tonumber(ARGV[3]), tonumber(ARGV[8]))
local after = head.epoch .. ' ' .. string.format('%d', head.offset)
redis.call('HSET', KEYS[4], 'user', ARGV[6], 'request', ARGV[7],
  'status', 'queued', 'attempt', 0, 'deltas', 0, 'after', after,
  'summary', ARGV[9], 'requested_at', string.format('%.3f', now / 1000), 'clock', current_history(ARGV[1]))
redis.call('PEXPIRE', KEYS[4], open_ttl_ms)
redis.call('SET', KEYS[5], '', 'PX', open_ttl_ms)
redis.call('ZADD', KEYS[6], now, ARGV[5])
redis.call('PEXPIRE', KEYS[6], open_ttl_ms)
if ARGV[4] ~= '' then
  redis.call('SET', KEYS[3], ARGV[5] .. ' ' .. after .. ' ' .. ARGV[4], 'PX', ARGV[8])
end
if ARGV[13] ~= '' then
  add_to_user(KEYS[7], ARGV[5], now, ARGV[13], open_ttl_ms)
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
  redis.call('PEXPIRE', KEYS[9], open_ttl_ms)
  if waits then
    redis.call('HSET', KEYS[4], 'waits', KEYS[9])
  end
end
return {ARGV[5], head.epoch, head.offset, 1, waits and 1 or 0, unpack(stopped)}
