-- The counters of a batch, as core/cells.py has them: loaded, decided on and packed again. Each has a number; one table
-- holds each of its parts. What only few counters have (thresholds, a claim, what was carried over) stays packed in
-- `raw` until it is needed.
--
-- A fixed window's counter is <dddd used, held, cap, rev>, a rolling one's <dddddI2 used, held, cap, rev, span, parts>
-- and <ddd youngest, used, held> for each part. Behind it, where there is more: <dB next threshold, whether a claim
-- stands> and msgpack [cap without what was carried over, thresholds, fired ones, claim].

local call, format, sub, floor = redis.call, string.format, string.sub, math.floor
local pack, parse, pairs, unpack = struct.pack, struct.unpack, pairs, unpack
local MAX_AMOUNT, CLAIM_MS, BUCKETS, NEVER, CHUNK = 9e15, 250, 50, 2 ^ 62, 4000

local t = cmsgpack.unpack(ARGV[1])                -- the batch, flat: batch.py says what stands where
local now, rev, closed, horizon                   -- the organization's, set when it is met
local stored, live, dirty = {}, {}, {}            -- by counter: in the database, in the view, moved
local used, held, cap, revs = {}, {}, {}, {}      -- figures, and the revision of the policy that they are under
local next_at, raw = {}, {}                       -- `used` at which a threshold fires
local base, marks, fired, claims = {}, {}, {}, {} -- the parts of `raw`
local ring = {}                                   -- rolling: youngest, used, held of each part, oldest first
local spans = {}                                  -- of rolling counters, ms
local names = {}
local touched = {}                                -- node → revision of its last change, as far as it was read
local stops, events = {}, {}

local function whole(number)
    return format('%.0f', number)
end

local function open_up(c)
    local more = raw[c]
    if more then
        raw[c] = nil
        more = cmsgpack.unpack(more)
        base[c], marks[c], fired[c], claims[c] = more[1] or nil, more[2] or nil, more[3] or nil, more[4] or nil
    end
end

local function load_more(c, value, at)
    if #value >= at then
        local next_mark, claimed = parse('<dB', value, at)
        next_at[c] = next_mark < NEVER and next_mark or nil
        raw[c] = sub(value, at + 9)
        if claimed == 1 then open_up(c) end
    end
end

-- What has to be used so that a threshold is crossed: with its share of what was carried over.
local function due(c, m)
    local at, share = marks[c][m + 1], marks[c][m + 3]
    local carried = base[c] and cap[c] - base[c] or 0
    if share == 0 or carried <= 0 then return at end
    return math.min(MAX_AMOUNT, at + floor(carried / 1e6) * share + floor(carried % 1e6 * share / 1e6))
end

local function lowest_unfired(c)
    local all, gone, lowest = marks[c], fired[c], nil
    for m = 1, all and #all or 0, 4 do
        local is_gone = false
        for _, id in pairs(gone or {}) do is_gone = is_gone or id == all[m] end
        if not is_gone and (not lowest or due(c, m) < lowest) then lowest = due(c, m) end
    end
    return lowest
end

local function load_fixed(c, value)
    stored[c], live[c] = true, true
    used[c], held[c], cap[c], revs[c] = parse('<dddd', value)
    if #value > 32 then load_more(c, value, 33) end
end

local function load_rolling(c, value)
    stored[c], live[c] = true, true
    local span, count
    used[c], held[c], cap[c], revs[c], span, count = parse('<dddddI2', value)
    local parts, gone = {}, 0
    if count > 0 then parts = { parse('<' .. string.rep('ddd', count), value, 43) } end
    parts[3 * count + 1] = nil
    load_more(c, value, 43 + 24 * count)
    while parts[gone + 1] and parts[gone + 1] + span <= now do   -- what left the window
        used[c], held[c] = used[c] - parts[gone + 2], held[c] - parts[gone + 3]
        gone = gone + 3
    end
    if gone == 0 then
        ring[c] = parts
        return
    end
    local left = {}
    for p = gone + 1, 3 * count do left[p - gone] = parts[p] end
    ring[c] = left
    if #left == 0 then                                           -- an empty window forgets: thresholds fire again
        open_up(c)
        fired[c] = nil
        next_at[c] = lowest_unfired(c)
    end
end

local function pack_more(c)
    local next_mark = next_at[c] or NEVER
    if raw[c] then return pack('<dB', next_mark, 0) .. raw[c] end
    local claim = claims[c]
    if claim and claim[3] <= now then claim = nil end
    if not (base[c] or marks[c] or fired[c] or claim) then return '' end
    local more = { base[c] or false, marks[c] or false, fired[c] or false, claim or false }
    return pack('<dB', next_mark, claim and 1 or 0) .. cmsgpack.pack(more)
end

local function pack_fixed(c)
    local plain = pack('<dddd', used[c], held[c], cap[c], revs[c])
    if raw[c] or base[c] or marks[c] or fired[c] or claims[c] then return plain .. pack_more(c) end
    return plain
end

local function pack_rolling(c, span)
    local parts = ring[c]
    local head = pack('<dddddI2', used[c], held[c], cap[c], revs[c], span, #parts / 3)
    if #parts > 0 then head = head .. pack('<' .. string.rep('d', #parts), unpack(parts)) end
    return head .. pack_more(c)
end

-- The newest policy's cap and thresholds.
local function install(c, plan_rev, limit, more)
    open_up(c)
    revs[c], cap[c], base[c], dirty[c] = plan_rev, limit, nil, true
    marks[c] = more and more.marks
end

-- Of the newest thresholds one that is passed already stays fired, another is armed again.
local function rearm(c)
    local before, kept = fired[c], {}
    for m = 1, before and marks[c] and #marks[c] or 0, 4 do
        for _, id in pairs(before) do
            if id == marks[c][m] and due(c, m) <= used[c] then kept[#kept + 1] = id end
        end
    end
    fired[c] = #kept > 0 and kept or nil
    next_at[c] = lowest_unfired(c)
end

-- What was left of the period before is added to the cap.
local function carry_over(c, before, idle)
    open_up(c)
    local left = live[before] and math.max(0, cap[before] - used[before] - held[before]) or idle or 0
    base[c] = base[c] or cap[c]
    local limit = math.min(MAX_AMOUNT, base[c] + left)
    if cap[c] ~= limit then
        cap[c], dirty[c] = limit, true
        next_at[c] = lowest_unfired(c)
    end
end

-- The counter as the newest policy has it. One that is not there is made, but only in the view once it moves.
local function look(c, plan_rev, limit, more)
    local newer = not live[c] or plan_rev > revs[c]
    if not live[c] then
        local was_dirty = dirty[c]                -- one that emptied in this batch
        used[c], held[c], raw[c], fired[c], claims[c], ring[c] = 0, 0, nil, nil, nil, more and more.span and {}
        install(c, plan_rev, limit, more)
        dirty[c] = was_dirty
    elseif newer then
        install(c, plan_rev, limit, more)
    end
    if more and more.carry then carry_over(c, more.carry, more.idle) end
    if newer then rearm(c) end
end

local function part_of(at, span)
    return floor(at / math.max(1, floor(span / BUCKETS)))
end

-- Counts amounts from now on.
local function take(c, span, more_used, more_held)
    used[c], held[c] = used[c] + more_used, held[c] + more_held
    live[c], dirty[c] = true, true
    if span then
        local parts = ring[c]
        local last = #parts - 2
        if last < 1 or parts[last] < now and part_of(parts[last], span) < part_of(now, span) then
            last = last + 3
            parts[last], parts[last + 1], parts[last + 2] = now, 0, 0
        end
        parts[last] = now
        parts[last + 1], parts[last + 2] = parts[last + 1] + more_used, parts[last + 2] + more_held
    end
end

-- Where the part of a rolling window begins that an entry of `at` is in, if it still counts.
local function find_part(c, at, span)
    local parts, wanted = ring[c], part_of(at, span)
    for p = #parts - 2, 1, -3 do
        local index = part_of(parts[p], span)
        if index == wanted then return p end
        if index < wanted then return nil end
    end
end

-- Amounts that an entry of `at` brought are changed where it is counted.
local function adjust(c, span, at, more_used, less_held)
    local p = span and find_part(c, at, span)
    if p then
        ring[c][p + 1], ring[c][p + 2] = ring[c][p + 1] + more_used, ring[c][p + 2] - less_held
    end
    if p or not span then
        used[c], held[c] = used[c] + more_used, held[c] - less_held
    end
    live[c], dirty[c] = true, true
end

local function is_empty(c)
    return used[c] == 0 and held[c] == 0 and not (claims[c] and claims[c][3] > now)
end

local function drop(c)
    live[c], dirty[c] = nil, true
end

-- What tells two armings of a threshold apart.
local function arming(c)
    if not spans[c] then return 'r' .. whole(revs[c]) end
    return 'r' .. whole(revs[c]) .. '.' .. whole(part_of(ring[c][1] or now, spans[c]))
end

-- Thresholds that were crossed, lowest first; one may stop a node, which is a change of the organization.
local function fire(c)
    if not next_at[c] or used[c] < next_at[c] then return end
    open_up(c)
    local all, gone, order = marks[c], fired[c] or {}, {}
    for m = 1, #all, 4 do
        local known = false
        for _, id in pairs(gone) do known = known or id == all[m] end
        if not known and due(c, m) <= used[c] then order[#order + 1] = m end
    end
    table.sort(order, function(a, b)
        local first, second = due(c, a), due(c, b)
        if first == second then return a < b end
        return first < second
    end)
    for _, m in ipairs(order) do
        gone[#gone + 1] = all[m]
        events[#events + 1] = { names[c], all[m], whole(cap[c]), whole(used[c]), arming(c) }
        if all[m + 2] then
            rev = rev + 1
            stops[all[m + 2]], touched[all[m + 2]] = all[m], rev
        end
    end
    fired[c], dirty[c] = gone, true
    next_at[c] = lowest_unfired(c)
end

-- When an amount would fit below a rolling window's limit, ms; -1: when others let go, or never.
local function fits_at(c, span, limit, amount)
    if amount > limit then return -1 end
    local left = used[c] + held[c]
    if left + amount <= limit then return -1 end
    local parts = ring[c]
    for p = 1, #parts, 3 do
        left = left - parts[p + 1] - parts[p + 2]
        if left + amount <= limit then return parts[p] + span end
    end
    return -1
end
