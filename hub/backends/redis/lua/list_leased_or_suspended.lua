-- Lists open generations of one partition whose attempts external producers hold, or that are suspended.
-- KEYS  1 open generations      ARGV  1 run id  2 max generations
local prefix, reply = string.gsub(KEYS[1], 'open$', 'generation:'), {}
for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  if #reply >= tonumber(ARGV[2]) then
    break
  end
  local record = redis.call('HMGET', prefix .. id, 'lease', 'status')
  if record[1] or record[2] == 'suspended' then
    reply[#reply + 1] = id
  end
end
return reply
