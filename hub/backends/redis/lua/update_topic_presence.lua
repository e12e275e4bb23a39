-- Who follows a topic: which users a node has, or has no more; and what nodes that died left behind.
-- KEYS  1 when each entry is over, a sorted set: '<node> <user>' by Unix milliseconds
--       2 on how many nodes each user is, a hash
-- ARGV  1 run  2 node  3 milliseconds that an entry lasts  4 how many users are here
--       then those, then the users that are gone
-- Reply {users joined, users left, how many users there are}
-- Invariant: the hash has a user exactly while the sorted set has an entry of it.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local node, lasts, here = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local joined, left = {}, {}
local function leave(entry, user)
  if redis.call('ZREM', KEYS[1], entry) == 1 and redis.call('HINCRBY', KEYS[2], user, -1) <= 0 then
    redis.call('HDEL', KEYS[2], user)
    left[#left + 1] = user
  end
end
for n = 5, 4 + here do
  if redis.call('ZADD', KEYS[1], now + lasts, node .. ' ' .. ARGV[n]) == 1
    and redis.call('HINCRBY', KEYS[2], ARGV[n], 1) == 1 then
    joined[#joined + 1] = ARGV[n]
  end
end
for n = 5 + here, #ARGV do
  leave(node .. ' ' .. ARGV[n], ARGV[n])
end
for _, entry in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, 1000)) do
  leave(entry, string.match(entry, '[^ ]+$'))
end
redis.call('PEXPIRE', KEYS[1], lasts * 2)
redis.call('PEXPIRE', KEYS[2], lasts * 2)
return {joined, left, redis.call('HLEN', KEYS[2])}
