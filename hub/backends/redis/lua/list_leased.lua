-- Lists open generations of one partition whose attempts external producers hold.
-- KEYS  1 open generations      ARGV  1 run id  2 max generations
local prefix, reply = string.gsub(KEYS[1], 'open$', 'generation:'), {}
for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  if #reply >= tonumber(ARGV[2]) then
    break
  end
  if redis.call('HEXISTS', prefix .. id, 'lease') == 1 then
    reply[#reply + 1] = id
  end
end
return reply
