//! The arithmetic of charges, in whole minor units. What is added within a period is paid for the civil days that remain, the day of
//! the addition among them. Rounded are only sums, never parts: a line is the difference between two rounded sums, so that additions
//! cost the same together, however they are split and ordered, and a whole period costs exactly price · licences.

/// Of a million: what tax rates are parts of.
pub const MILLION: i32 = 1_000_000;

/// `floor(numerator / denominator + 1/2)`: halves go up.
fn round_half_up(numerator: i128, denominator: i128) -> i64 {
    let rounded = (2 * numerator + denominator).div_euclid(2 * denominator);
    i64::try_from(rounded).expect("amounts are bounded by prices and the number of licences")
}

/// What one addition adds to the numerator of a product's period.
pub fn share(unit_price: i64, licences: i32, days: i32) -> i64 {
    let share = i128::from(unit_price) * i128::from(licences) * i128::from(days);
    i64::try_from(share).expect("amounts are bounded by prices and the number of licences")
}

/// The cost of an addition of `share` where `before` was added already, in a period of so many days: R(before + share) − R(before).
pub fn cost(before: i64, share: i64, days_of_period: i32) -> i64 {
    let rounded = |numerator: i64| round_half_up(numerator.into(), days_of_period.into());
    rounded(before + share) - rounded(before)
}

/// The tax on `net` where `before` is taxed already at the same rate, in parts of a million: T(before + net) − T(before).
pub fn tax(before: i64, net: i64, rate: i32) -> i64 {
    let taxed = |net: i64| round_half_up(i128::from(net) * i128::from(rate), MILLION.into());
    taxed(before + net) - taxed(before)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_example_of_the_documentation() {
        // A month of 31 days at 12.00 a licence, tax 19 %: 3 on the 1st, 7 on the 11th, 2 on the 31st.
        let (mut numerator, mut net, mut lines) = (0, 0, Vec::new());
        for (licences, days) in [(3, 31), (7, 21), (2, 1)] {
            let share = share(1_200, licences, days);
            let line = cost(numerator, share, 31);
            lines.push((line, tax(net, line, 190_000)));
            numerator += share;
            net += line;
        }
        assert_eq!(lines, [(3_600, 684), (5_690, 1_081), (78, 15)]);
        assert_eq!(net, 9_368);
        assert_eq!(tax(0, net, 190_000), 1_780);
    }

    #[test]
    fn halves_go_up() {
        assert_eq!(
            [round_half_up(1, 2), round_half_up(-1, 2), round_half_up(3, 2), round_half_up(-3, 2)],
            [1, 0, 2, -1]
        );
    }

    fn cases() -> u32 {
        if std::env::var_os("MUSTER_TEST_FULL").is_some() { 1_000_000 } else { 10_000 }
    }

    /// Additions to one period: price, days of the period, and for each how many licences on how many days that remain.
    fn period() -> impl Strategy<Value = (i64, i32, Vec<(i32, i32)>)> {
        (0..=999_999_999_i64, 1..=366_i32).prop_flat_map(|(price, days)| {
            (Just(price), Just(days), prop::collection::vec((1..=500_i32, 1..=days), 1..12))
        })
    }

    fn total(price: i64, days: i32, additions: &[(i32, i32)], rate: i32) -> (i64, i64) {
        let (mut numerator, mut net, mut taxes) = (0, 0, 0);
        for (licences, remaining) in additions {
            let share = share(price, *licences, *remaining);
            let line = cost(numerator, share, days);
            taxes += tax(net, line, rate);
            numerator += share;
            net += line;
        }
        (net, taxes)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(cases()))]

        #[test]
        fn any_split_and_order_costs_the_same((price, days, additions) in period(), rate in 0..=MILLION, seed in any::<usize>()) {
            let whole = total(price, days, &additions, rate);
            // Singly, and in another order.
            let mut singly: Vec<(i32, i32)> =
                additions.iter().flat_map(|(licences, remaining)| (0..*licences).map(|_| (1, *remaining))).collect();
            for place in 0..singly.len() {
                let other = seed.wrapping_mul(place * 2 + 1).rotate_left(17) % singly.len();
                singly.swap(place, other);
            }
            prop_assert_eq!(total(price, days, &singly, rate), whole);
            prop_assert_eq!(whole.1, tax(0, whole.0, rate));
        }

        #[test]
        fn no_line_is_off_by_more_than_a_unit_or_negative((price, days, additions) in period(), rate in 0..=MILLION) {
            let (mut numerator, mut net) = (0, 0);
            for (licences, remaining) in additions {
                let share = share(price, licences, remaining);
                let line = cost(numerator, share, days);
                let off = i128::from(line) * i128::from(days) - i128::from(share);
                prop_assert!(line >= 0 && off.abs() <= i128::from(days), "{line} for {share}/{days}");
                let taxed = tax(net, line, rate);
                let off = i128::from(taxed) * i128::from(MILLION) - i128::from(line) * i128::from(rate);
                prop_assert!(taxed >= 0 && off.abs() <= i128::from(MILLION), "{taxed} for {line} at {rate}");
                numerator += share;
                net += line;
            }
        }

        #[test]
        fn a_whole_period_costs_price_times_licences(price in 0..=999_999_999_i64, days in 1..=366_i32, parts in prop::collection::vec(1..=500_i32, 1..12)) {
            let all: Vec<(i32, i32)> = parts.iter().map(|licences| (*licences, days)).collect();
            let licences: i32 = parts.iter().sum();
            prop_assert_eq!(total(price, days, &all, 0).0, price * i64::from(licences));
        }

        #[test]
        fn what_is_taken_back_returns_to_the_start(before in 0..=i64::from(i32::MAX), price in 0..=999_999_i64, licences in 1..=500_i32, days in 1..=366_i32, remaining in 1..=366_i32) {
            let share = share(price, licences, remaining.min(days));
            prop_assert_eq!(cost(before, share, days) + cost(before + share, -share, days), 0);
        }
    }
}
