-- Removes a push subscription if it is the user's.
-- KEYS  1 subscription    ARGV  1 run id  2 user
-- Reply 1 if it was removed
if redis.call('HGET', KEYS[1], 'u') ~= ARGV[2] then
  return 0
end
redis.call('DEL', KEYS[1])
return 1
