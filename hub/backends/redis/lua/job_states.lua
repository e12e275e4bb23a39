-- Tells which generations have a job, and whether a worker attends to it. It counts the checks in a
-- row in which none does: a count stays right when a fail-over leads to a server with another time.
-- KEYS  1 waiting  2 counts
-- ARGV  1 run id  2 group  3 length of a lease in ms  then the generations
-- Reply for each generation '' (no job), 'attended', or the number of checks without a worker
local time = redis.call('TIME')
local now_ms = string.format('%d', tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000))
local states = {}
for n = 4, #ARGV do
  local stream, id = find_due(ARGV[n])
  local idle, worker, deliveries
  if stream then
    idle, worker, deliveries = find_lease(stream, ARGV[2], id)
  end
  if idle == 0 then
    -- The lease may have been renewed at a time in the future, on a server whose clock was ahead, and
    -- would not expire until then. For a worker that lives this changes nothing.
    redis.call('XCLAIM', stream, ARGV[2], worker, 0, id, 'TIME', now_ms, 'RETRYCOUNT', deliveries, 'JUSTID')
  end
  if redis.call('HEXISTS', KEYS[2], 'j ' .. ARGV[n]) == 0 then
    states[n - 3] = ''
    redis.call('HDEL', KEYS[2], 'u ' .. ARGV[n])
  elseif idle and idle < tonumber(ARGV[3]) then
    states[n - 3] = 'attended'
    redis.call('HDEL', KEYS[2], 'u ' .. ARGV[n])
  else
    states[n - 3] = string.format('%d', redis.call('HINCRBY', KEYS[2], 'u ' .. ARGV[n], 1))
  end
end
return states
