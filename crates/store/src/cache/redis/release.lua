-- Gives a reservation back. KEYS: the key. ARGV: token, '1' to forget the key.
local entry = redis.call('HMGET', KEYS[1], 't', 'a')
if entry[1] ~= ARGV[1] or entry[2] then
  return 0
end
if ARGV[2] == '1' then
  redis.call('DEL', KEYS[1])
else
  redis.call('HDEL', KEYS[1], 't', 'l', 'd')
end
return 1
