-- Adds a job to the waiting ones, and makes jobs due while there is capacity.
-- KEYS  1 waiting  2 counts
-- ARGV  1 run id  2 queue  3 upstream  4 user  5 generation
--       6 max running jobs of a user  7 max waiting jobs of a user, or ''
--       8 max running jobs of the upstream, or ''  9 max waiting jobs of the upstream, or ''
--       10 topic, or ''
-- Reply 'taken', or 'user' or 'upstream': which of them has too many jobs
redis.call('HSET', KEYS[2], 'c', ARGV[6])
if ARGV[8] == '' then
  redis.call('HDEL', KEYS[2], 'C ' .. ARGV[3])
else
  redis.call('HSET', KEYS[2], 'C ' .. ARGV[3], ARGV[8])
end
local member = build_member(ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[10])
if redis.call('HEXISTS', KEYS[2], 'j ' .. ARGV[5]) == 1 then
  return 'taken'
end
local now = redis.call('HMGET', KEYS[2], 'w ' .. ARGV[4], 'W ' .. ARGV[3], 'R ' .. ARGV[3],
  'turn', 't ' .. ARGV[4])
if ARGV[7] ~= '' and tonumber(now[1] or 0) >= tonumber(ARGV[7]) then
  return 'user'
end
if ARGV[9] ~= '' and (now[2] or 0) + (now[3] or 0) >= tonumber(ARGV[9]) + (tonumber(ARGV[8]) or 0) then
  return 'upstream'
end
local turn = math.max(tonumber(now[4] or 0), tonumber(now[5] or 0)) + 1
redis.call('ZADD', KEYS[1], turn, member)
redis.call('HSET', KEYS[2], 't ' .. ARGV[4], turn, 'j ' .. ARGV[5], '')
count('w ' .. ARGV[4], 1)
count('W ' .. ARGV[3], 1)
dispatch()
return 'taken'
