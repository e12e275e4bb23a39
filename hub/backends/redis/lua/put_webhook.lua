-- Adds or replaces an endpoint.
-- KEYS  1 endpoints, a hash: JSON by id
-- ARGV  1 run id  2 id  3 JSON  4 the number of endpoints that there may be
-- Reply 1, or 0 if there are too many
if redis.call('HEXISTS', KEYS[1], ARGV[2]) == 0 and redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[4]) then
  return 0
end
redis.call('HSET', KEYS[1], ARGV[2], ARGV[3])
return 1
