-- KEYS[1]: the reservation. ARGV: token, answer. Its expiry stays as it is.
local found = redis.call('HMGET', KEYS[1], 't', 'a')
if found[1] ~= ARGV[1] or found[2] then
  return 0
end
redis.call('HSET', KEYS[1], 'a', ARGV[2])
return 1
