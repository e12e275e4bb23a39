-- Reads jobs that were taken and that nobody has looked at for some time. They count as looked at now.
-- KEYS  1 stream       ARGV  1 run id  2 group  3 consumer  4 max jobs  5 that time in ms
-- Reply the fields of each entry
local jobs = {}
local held = redis.pcall('XPENDING', KEYS[1], ARGV[2], 'IDLE', ARGV[5], '-', '+', ARGV[4])
if held.err then
  return jobs
end
for _, entry in ipairs(held) do
  local entries = redis.call('XRANGE', KEYS[1], entry[1], entry[1])
  if #entries == 0 then
    redis.call('XACK', KEYS[1], ARGV[2], entry[1])
  else
    redis.call('XCLAIM', KEYS[1], ARGV[2], ARGV[3], 0, entry[1], 'JUSTID')
    jobs[#jobs + 1] = entries[1][2]
  end
end
return jobs
