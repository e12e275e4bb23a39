-- Reads open generations of one partition, those first that were read longest ago.
-- KEYS  1 open generations, a sorted set: id by the time at which it was created or read last (ms)
-- ARGV  1 run id  2 max generations  3 ttl of an open record in ms
-- Reply for each generation {id, attempt, age in ms, 1 if a stop was requested, lease of an external
--       producer: '' (none), 'held' or 'ended'; 1 if it is suspended (inputs.lua); 1 if the time for
--       the value for which it is or was suspended is over; 1 if its attempt waits for a value}
-- Invariants
-- 1. A member whose record has ended or does not exist is removed.
-- 2. The keys beside an open record (create_generation.lua) live as long as it does.
local now, reply = now_ms(), {}
local prefix = string.gsub(KEYS[1], 'open$', 'generation:')
for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, ARGV[2] - 1)) do
  local record = redis.call('HMGET', prefix .. id, 'status', 'attempt', 'requested_at', 'stop_requested_by', 'lease', 'beside', 'suspended')
  local status = record[1]
  if not status or status == 'done' or status == 'stopped' or status == 'failed' then
    redis.call('ZREM', KEYS[1], id)
  else
    redis.call('ZADD', KEYS[1], now, id)
    local age = now - math.floor(tonumber(record[3] or 0) * 1000)
    for key in string.gmatch(record[6] or '', '[^\n]+') do
      extend_ttl(key, ARGV[3])
    end
    local lease = ''
    if record[5] then
      lease = has_lease_ended(prefix .. id, ARGV[1], record[5]) and 'ended' or 'held'
    end
    local overdue = 0
    if record[7] then
      local request = redis.call('HGET', prefix .. id, 'input ' .. record[7]) or ''
      overdue = now >= tonumber(string.match(request, '^%d+') or now) and 1 or 0
    end
    local suspended = status == 'suspended' and 1 or 0
    local waiting = status == 'waiting' and 1 or 0
    reply[#reply + 1] = {id, tonumber(record[2]), age, record[4] and 1 or 0, lease, suspended, overdue, waiting}
  end
end
return reply
