-- A ticket is used: from the first time on it lives as long as the token behind it.
-- KEYS  1 ticket, a hash: d what it says (JSON), u '1' once it was used, e when its token expires
-- ARGV  1 run
-- Reply {what it says, 1 when it was used before}, or {} when there is none
local found = redis.call('HMGET', KEYS[1], 'd', 'u', 'e')
if not found[1] then
  return {}
end
if not found[2] then
  redis.call('HSET', KEYS[1], 'u', '1')
  redis.call('PEXPIREAT', KEYS[1], found[3])
end
return {found[1], found[2] and 1 or 0}
