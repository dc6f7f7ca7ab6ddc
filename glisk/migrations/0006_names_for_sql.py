from django.db import migrations

# Two keys of system_state that follow from others, for SQL by hand. They are written by the
# transaction that writes what they follow from, and at its end: no lock is waited for after theirs.
_CREATE = """
CREATE FUNCTION system_state_follow() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    value jsonb := NEW.state_value;
    told jsonb := '{}';
BEGIN
    IF NEW.state_key LIKE 'breaker:%' THEN
        told := jsonb_build_object(substr(NEW.state_key, length('breaker:') + 1), CASE
            WHEN value ->> 'state' IS DISTINCT FROM 'open' THEN 'healthy'
            WHEN (value ->> 'rate_limited')::boolean THEN 'rate_limited'
            ELSE 'unavailable' END);
    ELSIF (value ->> 'gas_price_wei')::numeric > 0 THEN
        INSERT INTO system_state (state_key, state_value, updated_at) VALUES (
            'current_gas_price_gwei',
            to_jsonb((value ->> 'gas_price_wei')::numeric / 1000000000), clock_timestamp()
        ) ON CONFLICT (state_key) DO UPDATE
        SET state_value = EXCLUDED.state_value, updated_at = EXCLUDED.updated_at;
    END IF;
    INSERT INTO system_state AS s (state_key, state_value, updated_at) VALUES (
        'service_health',
        '{"replicate": "healthy", "pinata": "healthy", "gateway": "healthy", "rpc": "healthy",
            "chain": "healthy"}'::jsonb || told,
        clock_timestamp()
    ) ON CONFLICT (state_key) DO UPDATE
    SET state_value = s.state_value || told, updated_at = EXCLUDED.updated_at
    WHERE NOT s.state_value @> told;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER system_state_follow AFTER INSERT OR UPDATE ON system_state
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (NEW.state_key = 'keeper' OR NEW.state_key LIKE 'breaker:%')
    EXECUTE FUNCTION system_state_follow();
UPDATE system_state SET state_value = state_value
    WHERE state_key = 'keeper' OR state_key LIKE 'breaker:%';
"""
_DROP = """
DROP TRIGGER system_state_follow ON system_state;
DROP FUNCTION system_state_follow();
DELETE FROM system_state WHERE state_key IN ('current_gas_price_gwei', 'service_health');
"""


class Migration(migrations.Migration):
    dependencies = [("glisk", "0005_audit_by_object")]

    operations = [migrations.RunSQL(_CREATE, _DROP)]
