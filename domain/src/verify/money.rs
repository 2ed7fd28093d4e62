//! DESIGN §2.7: what was charged is what was quoted, each period is billed once, and the books agree with the statements.

use super::check::checks;

checks! { of_accounts
    Broken "money.billing" "every account has a row that says how it pays"
    r#"SELECT a.account_id, '{}'::jsonb FROM account a
       WHERE a.account_id = ANY($1) AND NOT EXISTS (SELECT FROM account_billing b WHERE b.account_id = a.account_id)"#

    Broken "money.periods" "a period begins on the day on which the one before ended, unless it counts from an anchor of its own, and never before"
    r#"SELECT p.account_id, jsonb_build_object('period', p.period_no, 'startsOn', p.starts_on, 'endsOn', p.ends_on)
       FROM (SELECT *, lag(ends_on) OVER w AS before_on, lag(closed) OVER w AS before_closed FROM billing_period
             WHERE account_id = ANY($1) WINDOW w AS (PARTITION BY account_id ORDER BY period_no)) p
       WHERE (p.before_on IS NOT NULL AND (p.starts_on < p.before_on OR (p.months > 0 AND p.starts_on <> p.before_on) OR NOT p.before_closed))
          OR (p.months = 0 AND p.starts_on <> p.anchor_on)"#

    Broken "money.running" "whoever has paid licences has a period that runs"
    r#"SELECT DISTINCT p.account_id, jsonb_build_object('product', p.product_id, 'paid', p.paid)
       FROM license_pool p JOIN account_billing b USING (account_id)
       WHERE p.account_id = ANY($1) AND p.paid > 0 AND b.ended_at IS NULL
         AND NOT EXISTS (SELECT FROM billing_period r WHERE r.account_id = p.account_id AND NOT r.closed)"#

    Broken "money.numbers" "statements are numbered without gaps"
    r#"SELECT b.account_id, jsonb_build_object('next', b.next_statement_no, 'statements', s.count, 'last', s.last)
       FROM account_billing b
       LEFT JOIN LATERAL (SELECT count(number) AS count, coalesce(max(number), 0) AS last FROM statement s
                          WHERE s.account_id = b.account_id) s ON true
       WHERE b.account_id = ANY($1) AND (s.count <> b.next_statement_no - 1 OR s.last <> b.next_statement_no - 1)"#

    Broken "money.totals" "a statement comes to the sum of its lines, and what is due to what was not paid of them"
    r#"SELECT s.account_id, jsonb_build_object('statement', s.statement_id, 'total', s.total, 'lines', l.total, 'due', s.due, 'unpaid', l.unpaid)
       FROM statement s
       LEFT JOIN LATERAL (SELECT coalesce(sum(net + tax), 0) AS total, coalesce(sum(net + tax) FILTER (WHERE NOT paid), 0) AS unpaid
                          FROM statement_line l WHERE l.account_id = s.account_id AND l.statement_id = s.statement_id) l ON true
       WHERE s.account_id = ANY($1) AND s.state <> 'DRAFT'
         AND (s.total <> l.total OR s.due <> CASE WHEN s.state = 'PAID' THEN 0 ELSE greatest(l.unpaid, 0) END)"#

    Broken "money.tax" "the taxes of a statement's lines sum to the tax on their sum, per rate"
    r#"SELECT l.account_id, jsonb_build_object('statement', l.statement_id, 'rate', l.tax_rate, 'tax', sum(l.tax), 'net', sum(l.net))
       FROM statement_line l WHERE l.account_id = ANY($1) AND NOT l.fixed_tax
       GROUP BY l.account_id, l.statement_id, l.tax_rate
       HAVING sum(l.tax) <> floor((2 * sum(l.net) * l.tax_rate + 1000000) / 2000000)"#

    Broken "money.additions" "what was added to a product in a period costs what its share of the period comes to, rounded once"
    r#"SELECT p.account_id, jsonb_build_object('period', p.period_no, 'product', p.product_id, 'charged', l.net, 'numerator', p.numerator)
       FROM billing_period_product p
       JOIN billing_period b USING (account_id, period_no)
       LEFT JOIN LATERAL (SELECT coalesce(sum(l.net), 0) AS net FROM statement_line l JOIN statement s USING (account_id, statement_id)
                          WHERE s.account_id = p.account_id AND s.period_no = p.period_no + 1 AND s.currency = b.currency
                            AND l.product_id = p.product_id AND l.kind IN ('ADDED', 'TRIAL') AND NOT l.fixed_tax) l ON true
       WHERE p.account_id = ANY($1)
         AND l.net <> floor((2 * p.numerator::numeric + (b.ends_on - b.starts_on)) / (2 * (b.ends_on - b.starts_on)))"#

    Broken "money.credits" "what is used of a credit stands on statements"
    r#"SELECT c.account_id, jsonb_build_object('credit', c.credit_id, 'used', c.used, 'onStatements', coalesce(l.net, 0))
       FROM billing_credit c
       LEFT JOIN LATERAL (SELECT -sum(net) AS net FROM statement_line l
                          WHERE l.account_id = c.account_id AND l.credit_id = c.credit_id) l ON true
       WHERE c.account_id = ANY($1) AND c.used <> coalesce(l.net, 0)"#

    Broken "money.books" "what a statement's lines come to is owed in the books, as revenue and as tax"
    r#"SELECT s.account_id, jsonb_build_object('statement', s.statement_id, 'net', l.net, 'revenue', b.revenue, 'tax', l.tax, 'taxOwed', b.tax)
       FROM statement s
       LEFT JOIN LATERAL (SELECT coalesce(sum(net), 0) AS net, coalesce(sum(tax), 0) AS tax FROM statement_line l
                          WHERE l.account_id = s.account_id AND l.statement_id = s.statement_id) l ON true
       LEFT JOIN LATERAL (
           SELECT coalesce(sum(amount) FILTER (WHERE credit = 'REVENUE'), 0) - coalesce(sum(amount) FILTER (WHERE debit = 'REVENUE'), 0) AS revenue,
                  coalesce(sum(amount) FILTER (WHERE credit = 'TAX'), 0) - coalesce(sum(amount) FILTER (WHERE debit = 'TAX'), 0) AS tax
           FROM ledger_entry e WHERE e.account_id = s.account_id AND e.statement_id = s.statement_id) b ON true
       WHERE s.account_id = ANY($1) AND (l.net <> b.revenue OR l.tax <> b.tax)"#

    Broken "money.cash" "what came in is what attempts collected and operators recorded, and nothing came twice"
    r#"SELECT a.account_id, jsonb_build_object('attempt', a.attempt_id, 'amount', a.amount, 'state', a.state, 'collected', a.collected, 'cash', e.cash)
       FROM charge_attempt a
       LEFT JOIN LATERAL (
           SELECT coalesce(sum(amount) FILTER (WHERE debit = 'CASH'), 0) AS cash
           FROM ledger_entry e WHERE e.account_id = a.account_id AND e.attempt_id = a.attempt_id) e ON true
       WHERE a.account_id = ANY($1) AND e.cash <> CASE WHEN a.collected THEN a.amount ELSE 0 END"#

    Broken "money.quoted" "a charge is what was quoted, and so is its line"
    r#"SELECT c.account_id, jsonb_build_object('change', c.change_id, 'quoted', c.net + c.tax, 'charged', a.amount, 'lines', l.total)
       FROM license_change c
       LEFT JOIN charge_attempt a ON a.account_id = c.account_id AND a.change_id = c.change_id AND a.state = 'SUCCEEDED'
       LEFT JOIN LATERAL (SELECT sum(net + tax) AS total FROM statement_line l
                          WHERE l.account_id = c.account_id AND l.change_id = c.change_id AND l.kind <> 'RECURRING') l ON true
       WHERE c.account_id = ANY($1) AND c.kind IN ('ADD', 'ENABLE') AND c.status = 'APPLIED'
         AND (coalesce(a.amount, 0) <> c.net + c.tax OR coalesce(l.total, 0) <> c.net + c.tax)"#

    Broken "money.applied" "licences exist once they are charged: a change that was charged is applied or failed"
    r#"SELECT c.account_id, jsonb_build_object('change', c.change_id, 'status', c.status, 'attempt', a.state)
       FROM license_change c JOIN charge_attempt a ON a.account_id = c.account_id AND a.change_id = c.change_id
       WHERE c.account_id = ANY($1)
         AND ((a.state = 'SUCCEEDED' AND c.status NOT IN ('APPLIED', 'FAILED')) OR (a.state = 'DECLINED' AND c.status <> 'FAILED'))"#

    Warning "money.unresolved" "somebody knows what became of every charge"
    r#"SELECT account_id, jsonb_build_object('attempt', attempt_id, 'amount', amount) FROM charge_attempt
       WHERE account_id = ANY($1) AND state = 'UNRESOLVED'"#

    Warning "money.overdue" "periods are closed when they end"
    r#"SELECT account_id, jsonb_build_object('period', period_no, 'endsAt', ends_at) FROM billing_period
       WHERE account_id = ANY($1) AND NOT closed AND ends_at < now() - interval '10 minutes'"#
}
