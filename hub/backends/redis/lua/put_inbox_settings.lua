-- Replaces settings of a user's inbox.
-- KEYS  1 settings, a hash:
--         t             the topics, JSON
--         p             the muted categories, JSON
--         m <category>  1 for each category that is muted in the inbox, for publish.lua
--         s <source>    the user's state of the items of a topic or `all` (core/shared_items.py)
--       2 head of the user's channel
-- ARGV  1 run id  2 ttl in ms  3 't' or 'p'  4 its value, then for t the sources whose states stay, for p
--       the categories that are muted in the inbox
-- Reply the value before, or nil
-- Invariants
-- 1. There are only states of the sources that the inbox shows.
-- 2. The state of the inbox in the head (inbox.lua) knows whether the user may have muted categories.
local before, stays = redis.call('HGET', KEYS[1], ARGV[3]), {}
for n = 5, #ARGV do
  stays[ARGV[n]] = true
end
local prefix = ARGV[3] == 't' and 's ' or 'm '
local fields = redis.call('HGETALL', KEYS[1])
for n = 1, #fields, 2 do
  if string.sub(fields[n], 1, 2) == prefix and not stays[string.sub(fields[n], 3)] then
    redis.call('HDEL', KEYS[1], fields[n])
  end
end
redis.call('HSET', KEYS[1], ARGV[3], ARGV[4])
if ARGV[3] == 'p' then
  for n = 5, #ARGV do
    redis.call('HSET', KEYS[1], 'm ' .. ARGV[n], '1')
  end
  redis.call('HDEL', KEYS[2], 'i')
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return before
