-- Claims an idempotency key. ../reservation.rs says the same in Rust.
-- KEYS: the key. ARGV: fingerprint, token, event id, instant, lease and keep in milliseconds.
-- Answers {0, event id, instant} ours, {1, milliseconds} running, {2} different,
-- {3, event id, answer} settled.
local fingerprint, token, lease, keep = ARGV[1], ARGV[2], tonumber(ARGV[5]), tonumber(ARGV[6])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local until_ = string.format('%.0f', now + lease)

local entry = redis.call('HMGET', KEYS[1], 'f', 't', 'l', 'e', 'r', 'a', 'd')
if not entry[1] then
  redis.call('HSET', KEYS[1], 'f', fingerprint, 't', token, 'l', until_, 'd', ARGV[5],
    'e', ARGV[3], 'r', ARGV[4])
  -- Once, here: no other command moves the end.
  redis.call('PEXPIRE', KEYS[1], keep)
  return {0, ARGV[3], ARGV[4]}
end
if entry[1] ~= fingerprint then
  return {2}
end
if entry[6] then
  return {3, entry[4], entry[6]}
end
local left = entry[3] and tonumber(entry[3]) - now or 0
-- More than the lease had is left after the clock was set back: nobody waits for it to catch up.
-- (Where an older gateway kept no length, it is as long as ours.)
local whole = tonumber(entry[7]) or lease
if left > 0 and left <= whole and entry[2] ~= token then
  return {1, left}
end
redis.call('HSET', KEYS[1], 't', token, 'l', until_, 'd', ARGV[5])
return {0, entry[4], entry[5]}
