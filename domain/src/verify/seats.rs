//! DESIGN §2.1: no race oversells, and every seat in use is somebody's.

use super::check::checks;

checks! { of_accounts
    Broken "seats.in_use" "seats in use are those that members hold and those that running imports keep"
    r#"SELECT p.account_id, jsonb_build_object('product', p.product_id, 'inUse', p.in_use, 'held', a.held, 'keptByImports', i.kept)
       FROM license_pool p
       LEFT JOIN LATERAL (SELECT count(*) AS held FROM license_allocation a
                          WHERE a.account_id = p.account_id AND a.product_id = p.product_id) a ON true
       LEFT JOIN LATERAL (SELECT coalesce(sum(i.seats_held), 0) AS kept FROM member_import i
                          WHERE i.account_id = p.account_id AND p.product_id = 'base') i ON true
       WHERE p.account_id = ANY($1) AND p.in_use <> a.held + i.kept"#

    Broken "seats.oversold" "no more seats are in use than are owned and not about to be removed, and never fewer than none"
    r#"SELECT account_id, jsonb_build_object('product', product_id, 'inUse', in_use, 'granted', granted, 'paid', paid,
                                             'scheduled', scheduled, 'namedHeld', named_held)
       FROM license_pool
       WHERE account_id = ANY($1)
         AND NOT (in_use >= 0 AND granted >= 0 AND paid >= 0 AND scheduled BETWEEN 0 AND paid AND named_held BETWEEN 0 AND scheduled
                  AND in_use >= named_held AND in_use + scheduled - named_held <= granted + paid)"#

    Broken "seats.holders" "whoever is active, suspended or has a live invitation holds a seat, and nobody else does"
    r#"SELECT m.account_id, jsonb_build_object('member', m.member_id, 'status', m.status, 'invitation', i.state,
                                               'seat', a.member_id IS NOT NULL)
       FROM member m
       LEFT JOIN invitation i ON i.account_id = m.account_id AND i.member_id = m.member_id AND i.finished_at IS NULL
       LEFT JOIN license_allocation a ON a.account_id = m.account_id AND a.member_id = m.member_id AND a.product_id = 'base'
       WHERE m.account_id = ANY($1)
         AND (a.member_id IS NOT NULL) <> (m.status IN ('INVITED', 'ACTIVE', 'SUSPENDED') AND i.state IS DISTINCT FROM 'EXPIRED')"#

    Broken "seats.reserved" "a seat is reserved as long as its holder's invitation is open"
    r#"SELECT a.account_id, jsonb_build_object('member', a.member_id, 'product', a.product_id, 'reserved', a.reserved)
       FROM license_allocation a
       LEFT JOIN invitation i ON i.account_id = a.account_id AND i.member_id = a.member_id AND i.finished_at IS NULL
       WHERE a.account_id = ANY($1) AND a.reserved <> (i.state IS NOT NULL)"#

    Broken "seats.pool" "every account has a pool of base seats"
    r#"SELECT a.account_id, '{}'::jsonb FROM account a
       WHERE a.account_id = ANY($1)
         AND NOT EXISTS (SELECT FROM license_pool p WHERE p.account_id = a.account_id AND p.product_id = 'base')"#
}
