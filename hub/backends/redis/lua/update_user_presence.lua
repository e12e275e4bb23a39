-- Adds and removes users of a node, with the deliveries of those who have changed (deliveries.lua).
-- KEYS  1 connected:nodes, a hash: the nodes and the end (ms) of their entries in the partition
--       2 the `due` key of the queue of the deliveries
--       and, named after the first one:
--       connected:users:<node>, a sorted set: the users of a node, all with the score 0
--       connected:counts, a hash: the number of nodes of each user
-- ARGV  1 run id  2 node  3 ttl of the entries in ms  4 how long keys are kept in ms
--       5 'own' from the node itself, or 'expired' from another one  6 limits of the deliveries
--       then for each user: the user, 1 if present or 0, the number of deliveries,
--       and for each delivery: channel, lane, id, delay in ms, body
-- Reply 1 if the node had entries that have not expired, otherwise 0
-- Invariants
-- 1. The hash counts the sets in which a user is. A user is connected with 1, disconnected with 0.
-- 2. Entries that have expired are never renewed. Other nodes remove them.
local base = string.sub(KEYS[1], 1, -6)
local users_key, counts_key = base .. 'users:' .. ARGV[2], base .. 'counts'
local now, is_own = now_ms(), ARGV[5] == 'own'
local expiry = tonumber(redis.call('HGET', KEYS[1], ARGV[2]) or nil)
local has_expired = expiry ~= nil and expiry <= now
if has_expired == is_own then
  return 0
end
local n = 7
while n <= #ARGV do
  local user, count, changed = ARGV[n], tonumber(ARGV[n + 2]), false
  if ARGV[n + 1] == '1' then
    changed = redis.call('ZADD', users_key, 0, user) == 1 and redis.call('HINCRBY', counts_key, user, 1) == 1
  elseif redis.call('ZREM', users_key, user) == 1 and redis.call('HINCRBY', counts_key, user, -1) <= 0 then
    redis.call('HDEL', counts_key, user)
    changed = true
  end
  n = n + 3
  for _ = 1, count do
    if changed then
      add_delivery(KEYS[2], ARGV[1], ARGV[6], ARGV[n], ARGV[n + 1], ARGV[n + 2], ARGV[n + 3], ARGV[n + 4], '')
    end
    n = n + 5
  end
end
if is_own then
  redis.call('HSET', KEYS[1], ARGV[2], string.format('%d', now + tonumber(ARGV[3])))
  for _, key in ipairs({KEYS[1], users_key, counts_key}) do
    redis.call('PEXPIRE', key, ARGV[4])
  end
end
return expiry and 1 or 0
