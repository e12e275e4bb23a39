-- Tells which generations have a job, and whether a worker attends to it.
-- KEYS  1 waiting  2 counts
-- ARGV  1 run id  2 group  then the generations
-- Reply for each generation '' (no job), 'waiting', or for a due job: for how long no worker has held or
--        renewed it, in ms
local states = {}
for n = 3, #ARGV do
  local stream, id = find_due(ARGV[n])
  if stream then
    states[n - 2] = string.format('%d', (idle_ms(stream, ARGV[2], id)))
  else
    states[n - 2] = redis.call('HEXISTS', KEYS[2], 'j ' .. ARGV[n]) == 1 and 'waiting' or ''
  end
end
return states
