-- Takes due jobs of a queue that nobody has taken.
-- KEYS  1 stream       ARGV  1 run id  2 group  3 consumer  4 max jobs
-- Reply the fields of each entry
local function read()
  return redis.pcall('XREADGROUP', 'GROUP', ARGV[2], ARGV[3], 'COUNT', ARGV[4], 'STREAMS', KEYS[1], '>')
end

local reply = read()
if type(reply) == 'table' and reply.err then -- the group does not exist yet
  redis.call('XGROUP', 'CREATE', KEYS[1], ARGV[2], '0', 'MKSTREAM')
  reply = read()
end
local jobs = {}
if type(reply) == 'table' and reply[1] then
  for n, entry in ipairs(reply[1][2]) do
    jobs[n] = entry[2]
  end
end
return jobs
