"""Leading singular triplets, from products with blocks of columns."""
