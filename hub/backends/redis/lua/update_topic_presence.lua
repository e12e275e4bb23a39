-- Updates which users of a node follow a topic, and removes expired entries of any node.
-- KEYS  1 entries, a sorted set: '<node> <user>' by expiry time in Unix milliseconds
--       2 users, a hash: number of entries of each user
-- ARGV  1 run id  2 node  3 ttl of an entry in ms  4 number of present users
--       then the present users, then the absent users
-- Reply {users joined, users left, number of users}
-- Invariant: the hash has a user exactly while the sorted set has an entry of that user.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local node, ttl_ms, present = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local joined, left = {}, {}
local function remove(entry, user)
  if redis.call('ZREM', KEYS[1], entry) == 1 and redis.call('HINCRBY', KEYS[2], user, -1) <= 0 then
    redis.call('HDEL', KEYS[2], user)
    left[#left + 1] = user
  end
end
for n = 5, 4 + present do
  if redis.call('ZADD', KEYS[1], now + ttl_ms, node .. ' ' .. ARGV[n]) == 1
    and redis.call('HINCRBY', KEYS[2], ARGV[n], 1) == 1 then
    joined[#joined + 1] = ARGV[n]
  end
end
for n = 5 + present, #ARGV do
  remove(node .. ' ' .. ARGV[n], ARGV[n])
end
for _, entry in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, 1000)) do
  remove(entry, string.match(entry, '[^ ]+$'))
end
redis.call('PEXPIRE', KEYS[1], ttl_ms * 2)
redis.call('PEXPIRE', KEYS[2], ttl_ms * 2)
return {joined, left, redis.call('HLEN', KEYS[2])}
