"""Attachments: small files, kept in the database."""
