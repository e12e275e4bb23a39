-- Adds to the usage totals of one user and model on one day.
-- KEYS  1 totals of a partition's users on one day, a hash: '<counter> <user> <model>'
-- ARGV  1 run id  2 user and model  3 ttl in ms  then counter, number, counter, number ...
-- A sum that does not fit into 64 bits stays at the largest number that does.
for n = 4, #ARGV, 2 do
  if ARGV[n + 1] ~= '0' then
    local counter = ARGV[n] .. ' ' .. ARGV[2]
    local reply = redis.pcall('HINCRBY', KEYS[1], counter, ARGV[n + 1])
    if type(reply) == 'table' and reply.err then
      if not string.find(tostring(reply.err), 'overflow', 1, true) then
        return reply
      end
      redis.call('HSET', KEYS[1], counter, '9223372036854775807')
    end
  end
end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return ''
