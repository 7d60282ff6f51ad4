-- Reserves one amount after the other, until one is refused: the same counting as `memory.rs`, in one step that nobody comes in between of.
-- KEYS: the last reservation's number, the beginning of reservations' names, then the counter of each.
-- ARGV: milliseconds until a reservation is forgotten, time for tests, then of each: kind ("bucket" or "window"), most, refill, microseconds of
-- the rule, amount.
-- Returns of each that was tried {1, number of the reservation, what is left, microseconds until everything came back},
-- or {0, what is left, microseconds until as much may be there (-1: never), microseconds until everything came back}.
local SLOTS, KEPT = 60, 61
local now = tonumber(ARGV[2])
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000000 + tonumber(time[2])
end

local function length(window) return math.max(window / SLOTS, 0.001) end
local function slot_of(at, window) return math.floor(at / length(window)) end
-- Whole numbers of any size, which `tostring` would round.
local function whole(n) return string.format('%.0f', n) end

local function reserve(counter, kind, most, refill, per, amount)
  local old = {}
  local flat = redis.call('HGETALL', counter)
  for i = 1, #flat, 2 do old[flat[i]] = flat[i + 1] end

  local answer, keep
  if kind == 'bucket' then
    local tokens = most
    if old.kind == 'bucket' then
      local before, again, span = tonumber(old.most), tonumber(old.refill), tonumber(old.per)
      local back = 0
      if span > 0 then back = again * math.max(now - tonumber(old.at), 0) / span end
      tokens = math.min(tonumber(old.tokens) + back, before, most)
    end
    local function wait_for(wanted)
      if wanted > most or refill == 0 then return -1 end
      return math.max(math.ceil((wanted - tokens) / refill * per), 0)
    end
    local left = math.max(math.floor(tokens), 0)
    if left < amount then
      answer = {0, left, wait_for(amount), math.max(wait_for(most), 0)}
    else
      tokens = tokens - amount
      answer = {1, 0, math.max(math.floor(tokens), 0), math.max(wait_for(most), 0)}
    end
    redis.call('DEL', counter)
    redis.call('HSET', counter, 'kind', kind, 'most', whole(most), 'refill', whole(refill), 'per', whole(per),
      'tokens', string.format('%.17g', tokens), 'at', whole(now))
    -- When it is full again, a new one would be the same. One that never fills up is not forgotten.
    if refill > 0 then keep = math.ceil((most - tokens) / refill * per / 1000) + 1000 end
  else
    local slots, current, taken = {}, slot_of(now, per), 0
    if old.kind == 'window' then
      local span = tonumber(old.per)
      local at = slot_of(now, span)
      for name, value in pairs(old) do
        local number = tonumber(string.match(name, '^s(%d+)$'))
        if number and number + KEPT > at then
          taken = taken + tonumber(value)
          if span == per then slots[number] = tonumber(value) end
        end
      end
      -- Slots of another length: what counts of them now counts as taken now.
      if span ~= per and taken > 0 then slots[current] = taken end
    end
    local function back_at(number) return math.max(math.ceil((number + KEPT) * length(per) - now), 0) end
    local function reset()
      local last = nil
      for number, value in pairs(slots) do
        if value > 0 and (last == nil or number > last) then last = number end
      end
      return last and back_at(last) or 0
    end
    if math.max(most - taken, 0) < amount then
      local wait = -1
      if amount <= most then
        local numbers, rest = {}, taken
        for number in pairs(slots) do numbers[#numbers + 1] = number end
        table.sort(numbers)
        wait = 0
        for _, number in ipairs(numbers) do
          rest = rest - slots[number]
          if rest + amount <= most then wait = back_at(number) break end
        end
      end
      answer = {0, math.max(most - taken, 0), wait, reset()}
    else
      slots[current] = (slots[current] or 0) + amount
      answer = {1, 0, math.max(most - taken - amount, 0), reset()}
    end
    redis.call('DEL', counter)
    local fields = {'kind', kind, 'most', whole(most), 'per', whole(per)}
    for number, value in pairs(slots) do
      fields[#fields + 1] = 's' .. whole(number)
      fields[#fields + 1] = whole(value)
    end
    redis.call('HSET', counter, unpack(fields))
    keep = math.ceil(KEPT * length(per) / 1000) + 1000
  end
  if keep then redis.call('PEXPIRE', counter, whole(math.min(keep, 3153600000000))) end

  if answer[1] == 1 then
    local number = redis.call('INCR', KEYS[1])
    local reservation = KEYS[2] .. whole(number)
    redis.call('HSET', reservation, 'counter', counter, 'amount', whole(amount), 'at', whole(now), 'kind', kind,
      'most', whole(most), 'refill', whole(refill), 'per', whole(per))
    redis.call('PEXPIRE', reservation, ARGV[1])
    answer[2] = number
  end
  -- As text: answers are whole numbers only, and of 64 bits with a sign.
  for i = 2, 4 do answer[i] = whole(answer[i]) end
  return answer
end

local answers = {}
for n = 1, #KEYS - 2 do
  local at = 5 * n - 2
  local answer = reserve(KEYS[n + 2], ARGV[at], tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4]))
  answers[n] = answer
  if answer[1] == 0 then break end
end
return answers
