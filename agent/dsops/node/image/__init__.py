"""Unpacks images that a bundle brought, each under its digest, for units that run in them."""
