-- Lists users of a node whose entries have expired (update_user_presence.lua); forgets it without any.
-- KEYS  1 connected:nodes
-- ARGV  1 run id  2 node  3 limit
-- Reply the users
local expiry = tonumber(redis.call('HGET', KEYS[1], ARGV[2]) or nil)
if not expiry or expiry > now_ms() then
  return {}
end
local users = redis.call('ZRANGE', string.sub(KEYS[1], 1, -6) .. 'users:' .. ARGV[2], 0, ARGV[3] - 1)
if #users == 0 then
  redis.call('HDEL', KEYS[1], ARGV[2])
end
return users
