-- Reads the record and the parts of a generation at one moment. With the keys of the user's channel
-- it also reads the channel's head: the parts contain every event of the generation up to there.
-- KEYS  1 record  2 parts  optionally  3 head of the channel  4 its log
-- ARGV  1 run id  2 new epoch  3 ttl of the head in ms
-- Reply {parts, epoch, offset, time in ms, whose time that is, field, value, field, value ...}, or {} when there is no
--        such record
local record = redis.call('HGETALL', KEYS[1])
if #record == 0 then
  return record
end
local head = {epoch = '', offset = 0}
if KEYS[3] then
  head = read_head(KEYS[3], KEYS[4], ARGV[1], ARGV[2], ARGV[3])
end
return {redis.call('GET', KEYS[2]) or '', head.epoch, head.offset, now_ms(), current_history(ARGV[1]),
  unpack(record)}
