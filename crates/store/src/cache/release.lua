-- KEYS[1]: the reservation. ARGV: token, '1' to forget it.
local found = redis.call('HMGET', KEYS[1], 't', 'a')
if found[1] ~= ARGV[1] or found[2] then
  return 0
end
if ARGV[2] == '1' then
  redis.call('DEL', KEYS[1])
else
  redis.call('HSET', KEYS[1], 'l', 0)
end
return 1
