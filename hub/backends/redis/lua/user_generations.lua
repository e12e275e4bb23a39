-- Shared by several scripts: the generations of a user, a sorted set: id by time of the request (ms).

-- Adds a generation, unless it is there. Keeps the newest `max`; above `max_listed`, which lists look
-- at, the oldest ones are removed whose records, if they are in this partition, do not exist.
local function add_to_user(key, id, now, max, max_listed, ttl_ms)
  redis.call('ZADD', key, 'NX', now, id)
  local excess = redis.call('ZCARD', key) - tonumber(max_listed)
  if excess > 0 then
    local tag, partition = string.match(key, '^([^}]*{hub:p(%x%x)})')
    for _, oldest in ipairs(redis.call('ZRANGE', key, 0, math.min(excess, 4) - 1)) do
      local is_here = string.sub(oldest, 2, 3) == partition
      if is_here and not redis.call('HGET', tag .. ':generation:' .. oldest, 'status') then
        redis.call('ZREM', key, oldest)
      end
    end
  end
  excess = redis.call('ZCARD', key) - tonumber(max)
  if excess > 0 then
    redis.call('ZREM', key, unpack(redis.call('ZRANGE', key, 0, excess - 1)))
  end
  extend_ttl(key, ttl_ms)
end
