-- The bank in PostgreSQL: balances, and the id of every transfer, which makes a repeat fail.
CREATE TABLE accounts (id integer PRIMARY KEY, balance bigint NOT NULL);
CREATE TABLE transfers (id bigint PRIMARY KEY);

-- One transfer. The smaller account number is locked first, so that two transfers never wait for each other.
CREATE FUNCTION transfer(request bigint, payer integer, payee integer, amount bigint) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO transfers VALUES (request);
    IF payer > payee THEN
        UPDATE accounts SET balance = balance + amount WHERE id = payee;
    END IF;
    UPDATE accounts SET balance = balance - amount WHERE id = payer AND balance >= amount;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'insufficient funds';
    END IF;
    IF payer < payee THEN
        UPDATE accounts SET balance = balance + amount WHERE id = payee;
    END IF;
END
$$;
