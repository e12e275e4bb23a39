-- KEYS  1 stream       ARGV  1 run  2 group  3 consumer  then the entries
-- Reply for each entry 1 when it is still the consumer's, whose lease begins anew, else 0
local kept = {}
for n = 4, #ARGV do
  local held = redis.call('XPENDING', KEYS[1], ARGV[2], ARGV[n], ARGV[n], 1)
  kept[n - 3] = 0
  if #held == 1 and held[1][2] == ARGV[3] then
    redis.call('XCLAIM', KEYS[1], ARGV[2], ARGV[3], 0, ARGV[n], 'JUSTID')
    kept[n - 3] = 1
  end
end
return kept
