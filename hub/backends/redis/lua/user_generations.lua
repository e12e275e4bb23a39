-- Shared by several scripts: the newest generations of a user, a sorted set: id by time of the request
-- (ms).

-- Adds a generation, unless it is there. Keeps the newest `max`.
local function add_to_user(key, id, now, max, ttl_ms)
  redis.call('ZADD', key, 'NX', now, id)
  local excess = redis.call('ZCARD', key) - tonumber(max)
  if excess > 0 then
    redis.call('ZREM', key, unpack(redis.call('ZRANGE', key, 0, excess - 1)))
  end
  extend_ttl(key, ttl_ms)
end
