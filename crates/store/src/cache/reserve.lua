-- KEYS[1]: the reservation. ARGV: fingerprint, event id, received at (ms), token, lease (ms),
-- keep (ms). The clock is the server's own, so that those of the gateways don't matter.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local found = redis.call('HMGET', KEYS[1], 'f', 'e', 'r', 'l', 'a')
if not found[1] then
  redis.call('HSET', KEYS[1], 'f', ARGV[1], 'e', ARGV[2], 'r', ARGV[3], 't', ARGV[4],
    'l', now + ARGV[5])
  redis.call('PEXPIRE', KEYS[1], ARGV[6])
  return {'ours', ARGV[2], ARGV[3]}
end
if found[1] ~= ARGV[1] then
  return {'different', '', ''}
end
if found[5] then
  return {'settled', found[5], ''}
end
local left = tonumber(found[4]) - now
if left > 0 then
  return {'running', tostring(left), ''}
end
redis.call('HSET', KEYS[1], 't', ARGV[4], 'l', now + ARGV[5])
return {'ours', found[2], found[3]}
