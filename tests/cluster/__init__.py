"""The cluster tier: several instances, and a highly available PostgreSQL that loses its servers."""
