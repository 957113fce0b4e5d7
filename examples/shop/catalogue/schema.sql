-- The shop's whole stock, the same at every start.
CREATE TABLE products (
  id INTEGER PRIMARY KEY, slug TEXT UNIQUE NOT NULL, name TEXT NOT NULL, tagline TEXT NOT NULL,
  description TEXT NOT NULL, price_cents INTEGER NOT NULL, stock INTEGER NOT NULL, manual TEXT NOT NULL
);
CREATE TABLE users (
  id INTEGER PRIMARY KEY, name TEXT UNIQUE NOT NULL, password TEXT NOT NULL, role TEXT NOT NULL, note TEXT NOT NULL
);
CREATE TABLE comments (
  id INTEGER PRIMARY KEY AUTOINCREMENT, slug TEXT NOT NULL, author TEXT NOT NULL, text TEXT NOT NULL
);
CREATE INDEX comments_slug ON comments (slug);

INSERT INTO products VALUES
 (1, 'tent', 'Shell Two tent', 'Two people, four pegs, any weather.',
  'A domed tent that stands by itself. The outer shell goes up first, so the inside stays dry when you pitch it in the rain. 1.9 kg with everything.', 28900, 14, 'tent.txt'),
 (2, 'lantern', 'Glow-worm lantern', 'Forty hours of warm light.',
  'A lantern for the table and the tree. It dims down to a candle, charges over USB-C and gives its last tenth of charge back to your phone.', 3990, 52, 'lantern.txt'),
 (3, 'stove', 'Ember stove', 'Burns twigs, boils a litre in six minutes.',
  'Folds flat, needs no cartridge. The double wall burns the smoke as well, which keeps the neighbours friendly.', 6450, 23, 'stove.txt'),
 (4, 'flask', 'Long Day flask', 'Hot at breakfast, hot at supper.',
  'Steel inside and out, 0.75 litre. The cup on top holds a proper coffee, and the dents it will get are yours to keep.', 2700, 80, 'flask.txt'),
 (5, 'compass', 'True North compass', 'No battery since 1190.',
  'A liquid-filled sighting compass with a mirror, a slope gauge and a declination screw that stays where you set it.', 3400, 37, 'compass.txt'),
 (6, 'pack', 'Carrier 38 pack', 'Thirty-eight litres that sit well.',
  'A back that adjusts with one hand, a rain cover in the base and pockets that you can reach without taking it off.', 14900, 19, 'pack.txt'),
 (7, 'bag', 'Cocoon sleeping bag', 'Warm to minus eight.',
  'Recycled down, a collar that keeps the warmth in and a zip that does not eat the lining. Packs to the size of a loaf.', 17900, 11, 'bag.txt'),
 (8, 'mug', 'Tin mug', 'Enamel, blue, unbreakable enough.',
  'Three hundred and fifty millilitres. Goes on the fire, in the pack and, when you are home, on the shelf with a plant in it.', 1150, 120, 'mug.txt');

INSERT INTO users VALUES
 (1, 'admin',   'correct-horse-tortoise', 'admin',    'CANARY-7431: the till opens with 0-0-0-0'),
 (2, 'visitor', 'tortoise',               'customer', 'delivers to: Meadow Lane 5'),
 (3, 'ada',     'analytical-engine',      'customer', 'delivers to: St James Square 12'),
 (4, 'grace',   'first-actual-bug',       'customer', 'delivers to: Harbour Road 9');

INSERT INTO comments (slug, author, text) VALUES
 ('tent', 'ada', 'Three nights of rain on the ridge and not a drop inside.'),
 ('tent', 'grace', 'The pegs are <em>excellent</em>. I have bent worse with my shoe.'),
 ('lantern', 'visitor', 'Bright enough to read, dim enough to sleep.'),
 ('stove', 'grace', 'Six minutes is true if the twigs are dry.'),
 ('mug', 'ada', 'It is a mug. I love it.');
