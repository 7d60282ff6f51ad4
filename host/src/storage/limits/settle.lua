-- Says of reservations what was really used: the same counting as `memory.rs`.
-- KEYS: the reservations. ARGV: time for tests, then what was used of each. Returns of each 1, or 0 when there is no such reservation.
local SLOTS, KEPT = 60, 61
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000000 + tonumber(time[2])
end

local function length(window) return math.max(window / SLOTS, 0.001) end
local function whole(n) return string.format('%.0f', n) end

local function settle(key, used)
  local reservation = redis.call('HMGET', key, 'counter', 'amount', 'at', 'kind', 'most', 'refill', 'per')
  local counter, reserved, at = reservation[1], tonumber(reservation[2]), tonumber(reservation[3])
  if not counter then return 0 end
  redis.call('DEL', key)

  local rule = redis.call('HMGET', counter, 'kind', 'most', 'refill', 'per', 'tokens', 'at')
  if not rule[1] then
    -- Everything had come back, so the counter was forgotten; what was used on top still counts.
    if used <= reserved then return 1 end
    rule = {reservation[4], reservation[5], reservation[6], reservation[7], reservation[5], whole(now)}
    redis.call('HSET', counter, 'kind', rule[1], 'most', rule[2], 'refill', rule[3], 'per', rule[4])
  end
  local kind, most, per = rule[1], tonumber(rule[2]), tonumber(rule[4])
  if kind == 'bucket' then
    local refill, tokens = tonumber(rule[3]), tonumber(rule[5])
    if per > 0 then tokens = tokens + refill * math.max(now - tonumber(rule[6]), 0) / per end
    tokens = math.min(math.min(tokens, most) + reserved - used, most)
    redis.call('HSET', counter, 'tokens', string.format('%.17g', tokens), 'at', whole(now))
    if refill > 0 then
      redis.call('PEXPIRE', counter, whole(math.min(math.ceil((most - tokens) / refill * per / 1000) + 1000, 3153600000000)))
    end
  elseif used > reserved then
    redis.call('HINCRBY', counter, 's' .. whole(math.floor(now / length(per))), whole(used - reserved))
    redis.call('PEXPIRE', counter, whole(math.min(math.ceil(KEPT * length(per) / 1000) + 1000, 3153600000000)))
  else
    local slot = 's' .. whole(math.floor(at / length(per)))
    local taken = tonumber(redis.call('HGET', counter, slot))
    if taken then redis.call('HSET', counter, slot, whole(math.max(taken - (reserved - used), 0))) end
  end
  return 1
end

local known = {}
for n, key in ipairs(KEYS) do known[n] = settle(key, tonumber(ARGV[n + 1])) end
return known
