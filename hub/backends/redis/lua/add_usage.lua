-- Adds to the usage totals of one user and model on one day.
-- KEYS  1 totals of a partition's users on one day, a hash: '<counter> <user> <model>', and
--         'models <user>', the number of the user's models
-- ARGV  1 run id  2 user  3 model  4 name of all models beyond the maximum  5 maximum
--       6 ttl in ms  then counter, number, counter, number ...
-- A sum that does not fit into 64 bits stays at the largest number that does.
local function field(counter, model)
  return counter .. ' ' .. ARGV[2] .. ' ' .. model
end

local model, models = ARGV[3], 'models ' .. ARGV[2]
local is_known = model == ARGV[4]
for n = 7, #ARGV, 2 do
  is_known = is_known or redis.call('HEXISTS', KEYS[1], field(ARGV[n], model)) == 1
end
if not is_known then
  if tonumber(redis.call('HGET', KEYS[1], models) or '0') < tonumber(ARGV[5]) then
    redis.call('HINCRBY', KEYS[1], models, 1)
  else
    model = ARGV[4]
  end
end

for n = 7, #ARGV, 2 do
  if ARGV[n + 1] ~= '0' then
    local counter = field(ARGV[n], model)
    local reply = redis.pcall('HINCRBY', KEYS[1], counter, ARGV[n + 1])
    if type(reply) == 'table' and reply.err then
      if not string.find(tostring(reply.err), 'overflow', 1, true) then
        return reply
      end
      redis.call('HSET', KEYS[1], counter, '9223372036854775807')
    end
  end
end
redis.call('PEXPIRE', KEYS[1], ARGV[6])
return ''
