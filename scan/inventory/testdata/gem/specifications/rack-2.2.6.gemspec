Gem::Specification.new do |s|
  s.name = "rack"
  s.version = "2.2.6"
  s.licenses = ["MIT"]
end
