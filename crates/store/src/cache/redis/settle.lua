-- Keeps the answer to a reservation. KEYS: the key. ARGV: token, answer.
-- Answers 1 if the reservation is the token's, else 0.
local entry = redis.call('HMGET', KEYS[1], 't', 'a')
if entry[1] ~= ARGV[1] then
  return 0
end
if not entry[2] then
  redis.call('HSET', KEYS[1], 'a', ARGV[2])
  redis.call('HDEL', KEYS[1], 'l', 'd')
end
return 1
