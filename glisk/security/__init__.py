"""Who may enter the admin, how long they stay, and what its pages may load."""
