\set payer random(1, :accounts)
\set payee (:payer - 1 + random(1, :accounts - 1)) % :accounts + 1
\set amount random(1, 10)
\set n :n + 1
\set id :client_id * 1000000000 + :n
SELECT transfer(:id, :payer, :payee, :amount);
