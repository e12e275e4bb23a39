-- Deletes an endpoint and its state.
-- KEYS  1 endpoints, a hash: JSON by id  2 the state of the endpoint
-- ARGV  1 run id  2 id
-- Reply 1 if there was one, else 0
redis.call('DEL', KEYS[2])
return redis.call('HDEL', KEYS[1], ARGV[2])
