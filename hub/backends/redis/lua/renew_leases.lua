-- Renews the leases of a consumer.
-- KEYS  1 stream       ARGV  1 run id  2 group  3 consumer  then the ids of the entries
-- Reply for each entry 1 if the consumer still held it and the lease is renewed, else 0
local renewed = {}
for n = 4, #ARGV do
  local held = redis.call('XPENDING', KEYS[1], ARGV[2], ARGV[n], ARGV[n], 1)
  renewed[n - 3] = 0
  if #held == 1 and held[1][2] == ARGV[3] then
    redis.call('XCLAIM', KEYS[1], ARGV[2], ARGV[3], 0, ARGV[n], 'JUSTID')
    renewed[n - 3] = 1
  end
end
return renewed
